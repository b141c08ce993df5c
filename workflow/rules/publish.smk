# Scores and costs to the product: tables beside the published ones, figures, captions for the report.


localrules:
    build_table,
    build_figure,
    draw_published,
    draw_training,


rule build_table:
    input:
        scores=kept(products.scores, changes.table),
        controls=kept(products.controls, changes.table),
        cost=kept(products.costs, changes.table),
        latency=kept(products.latencies, changes.table),
        changed=changes.table,
    output:
        csv=report(
            f"{RESULTS}/{{target}}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels=products.labels,
        ),
        compare=report(
            f"{RESULTS}/{{target}}.compare.csv",
            caption="../report/compare.rst",
            category="Published against rebuilt",
            labels=products.labels,
        ),
        markdown=f"{RESULTS}/{{target}}.md",
        record=f"{RESULTS}/made/{{target}}.json",
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
        options=told(OPTIONS),
        unit=told(UNIT),
        made=changes.table_made,
        handed_in=products.handed_in,
        caption=products.caption,
    message:
        "{wildcards.target}: published beside rebuilt"
    shell:
        "python -m benchmark table {wildcards.target:q} {params.options:q} --unit {params.unit:q}"
        " --scores {input.scores:q} --controls {input.controls:q} {params.handed_in:q}"
        " --made {params.made:q} --record {output.record:q} > {log:q} 2>&1"


rule build_figure:
    input:
        scores=kept(products.scores, changes.figure),
        prepared=kept(products.stores, changes.figure),
        tables=kept(products.drawn_tables, changes.figure),
        fields=kept(products.receptive_fields, changes.figure),
        features=kept(products.features, changes.figure),
        changed=changes.figure,
    output:
        svg=report(
            f"{RESULTS}/{{target}}.svg",
            caption="../report/figure.rst",
            category="Figures",
            labels=products.labels,
        ),
        png=f"{RESULTS}/{{target}}.png",
        pdf=f"{RESULTS}/{{target}}.pdf",
        record=f"{RESULTS}/made/{{target}}.json",
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
        options=told(OPTIONS),
        made=changes.figure_made,
        handed_in=products.handed_in,
        caption=products.caption,
    message:
        "{wildcards.target}: drawing"
    shell:
        "python -m benchmark figure {wildcards.target:q} {params.options:q}"
        " --scores {input.scores:q} {params.handed_in:q} --made {params.made:q} --record {output.record:q} > {log:q} 2>&1"


rule draw_published:
    input:
        changed=changes.published,
    output:
        svg=f"{RESULTS}/published/{{target}}.svg",
        record=f"{RESULTS}/made/published-{{target}}.json",
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
        options=told(OPTIONS),
        made=changes.published_made,
    message:
        "{wildcards.target}: drawing the published numbers"
    shell:
        "python -m benchmark figure {wildcards.target:q} {params.options:q}"
        " --published --made {params.made:q} --record {output.record:q} > {log:q} 2>&1"


rule draw_training:
    input:
        trained=kept(products.trained, changes.curves),
        changed=changes.curves,
    output:
        svg=report(
            f"{RESULTS}/training/{{target}}.svg",
            caption="../report/training.rst",
            category="Training",
            labels=products.labels,
        ),
        record=f"{RESULTS}/made/training-{{target}}.json",
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
        options=told(OPTIONS),
        made=changes.curves_made,
    message:
        "{wildcards.target}: drawing the training losses"
    shell:
        "python -m benchmark figure {wildcards.target:q} {params.options:q}"
        " --training --made {params.made:q} --record {output.record:q} > {log:q} 2>&1"
