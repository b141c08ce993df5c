# Three pages about the papers as a whole: what is covered, what does not add up, what it would cost.


localrules:
    build_coverage,
    audit_papers,
    estimate_budget,


rule build_coverage:
    input:
        tables=kept(products.all_tables, changes.page("coverage")),
        changed=changes.page("coverage"),
    output:
        csv=report(
            f"{RESULTS}/coverage.csv",
            category="The papers",
            labels={"page": "coverage"},
        ),
        markdown=f"{RESULTS}/coverage.md",
        record=f"{RESULTS}/made/page-coverage.json",
    log:
        f"{RESULTS}/logs/pages/coverage.log",
    benchmark:
        f"{RESULTS}/benchmarks/pages/coverage.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        options=told(OPTIONS),
        made=changes.page_made("coverage"),
    message:
        "coverage: every published number, and its state here"
    shell:
        "python -m benchmark coverage {params.options:q} --made {params.made:q} --record {output.record:q} > {log:q} 2>&1"


rule audit_papers:
    input:
        costs=kept(products.all_costs, changes.page("audit")),
        changed=changes.page("audit"),
    output:
        csv=report(
            f"{RESULTS}/audit.csv", category="The papers", labels={"page": "audit"}
        ),
        markdown=f"{RESULTS}/audit.md",
        record=f"{RESULTS}/made/page-audit.json",
    log:
        f"{RESULTS}/logs/pages/audit.log",
    benchmark:
        f"{RESULTS}/benchmarks/pages/audit.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        options=told(OPTIONS),
        made=changes.page_made("audit"),
    message:
        "audit: the papers' arithmetic, recomputed"
    shell:
        "python -m benchmark audit {params.options:q} --made {params.made:q} --record {output.record:q} > {log:q} 2>&1"


rule estimate_budget:
    input:
        changed=changes.page("budget"),
    output:
        csv=report(
            f"{RESULTS}/budget.csv", category="The papers", labels={"page": "budget"}
        ),
        markdown=f"{RESULTS}/budget.md",
        record=f"{RESULTS}/made/page-budget.json",
    log:
        f"{RESULTS}/logs/pages/budget.log",
    benchmark:
        f"{RESULTS}/benchmarks/pages/budget.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        options=told(OPTIONS),
        made=changes.page_made("budget"),
        rate=products.rate,
    message:
        "budget: what every target would cost"
    shell:
        "python -m benchmark budget {params.options:q} {params.rate:q}"
        " --made {params.made:q} --record {output.record:q} > {log:q} 2>&1"
