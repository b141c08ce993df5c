# Scores and costs to the product: tables beside the published ones, figures, captions for the report.


localrules:
    build_table,
    build_figure,
    draw_published,
    draw_training,


rule build_table:
    input:
        scores=wiring.scores,
        controls=wiring.controls,
        cost=wiring.costs,
    output:
        csv=report(
            f"{RESULTS}/{{target}}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels=wiring.labels,
        ),
        compare=report(
            f"{RESULTS}/{{target}}.compare.csv",
            caption="../report/compare.rst",
            category="Published against rebuilt",
            labels=wiring.labels,
        ),
        markdown=f"{RESULTS}/{{target}}.md",
    log:
        f"{RESULTS}/logs/publish/{{target}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/publish/{{target}}.tsv"
    wildcard_constraints:
        target=wiring.tables,
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        options=wiring.options,
        caption=wiring.caption,
        specification=wiring.specification,
    message:
        "{wildcards.target}: published beside rebuilt"
    shell:
        "python -m benchmark table {wildcards.target} {params.options} --scores {input.scores}"
        " --controls {input.controls} > {log} 2>&1"


rule build_figure:
    input:
        scores=wiring.scores,
        prepared=wiring.stores,
        tables=wiring.drawn_tables,
        fields=wiring.receptive_fields,
    output:
        svg=report(
            f"{RESULTS}/{{target}}.svg",
            caption="../report/figure.rst",
            category="Figures",
            labels=wiring.labels,
        ),
        png=f"{RESULTS}/{{target}}.png",
        pdf=f"{RESULTS}/{{target}}.pdf",
    log:
        f"{RESULTS}/logs/publish/{{target}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/publish/{{target}}.tsv"
    wildcard_constraints:
        target=wiring.figures,
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        options=wiring.options,
        caption=wiring.caption,
        specification=wiring.specification,
    message:
        "{wildcards.target}: drawing"
    shell:
        "python -m benchmark figure {wildcards.target} {params.options} --scores {input.scores} > {log} 2>&1"


rule draw_published:
    output:
        svg=f"{RESULTS}/published/{{target}}.svg",
    log:
        f"{RESULTS}/logs/publish/{{target}}-published.log",
    benchmark:
        f"{RESULTS}/benchmarks/publish/{{target}}-published.tsv"
    wildcard_constraints:
        target=wiring.figures,
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        options=wiring.options,
    message:
        "{wildcards.target}: drawing the published numbers"
    shell:
        "python -m benchmark figure {wildcards.target} {params.options} --published > {log} 2>&1"


rule draw_training:
    input:
        trained=wiring.trained,
    output:
        svg=report(
            f"{RESULTS}/training/{{target}}.svg",
            caption="../report/training.rst",
            category="Training",
            labels=wiring.labels,
        ),
    log:
        f"{RESULTS}/logs/publish/{{target}}-training.log",
    benchmark:
        f"{RESULTS}/benchmarks/publish/{{target}}-training.tsv"
    wildcard_constraints:
        target="|".join(wiring.catalog.targets),
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        options=wiring.options,
    message:
        "{wildcards.target}: drawing the training losses"
    shell:
        "python -m benchmark figure {wildcards.target} {params.options} --training > {log} 2>&1"
