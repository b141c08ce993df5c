# Three pages about the papers as a whole: what is covered, what does not add up, what it would cost.


localrules:
    build_coverage,
    audit_papers,
    estimate_budget,


rule build_coverage:
    input:
        papers=wiring.paper_files,
        tables=wiring.all_tables,
    output:
        csv=report(
            f"{RESULTS}/coverage.csv",
            category="The papers",
            labels={"page": "coverage"},
        ),
        markdown=f"{RESULTS}/coverage.md",
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
        options=wiring.options,
    message:
        "coverage: every published number, and its state here"
    shell:
        "python -m benchmark coverage {params.options} > {log} 2>&1"


rule audit_papers:
    input:
        papers=wiring.paper_files,
        costs=wiring.all_costs,
    output:
        csv=report(
            f"{RESULTS}/audit.csv", category="The papers", labels={"page": "audit"}
        ),
        markdown=f"{RESULTS}/audit.md",
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
        options=wiring.options,
    message:
        "audit: the papers' arithmetic, recomputed"
    shell:
        "python -m benchmark audit {params.options} > {log} 2>&1"


rule estimate_budget:
    input:
        papers=wiring.paper_files,
    output:
        csv=report(
            f"{RESULTS}/budget.csv", category="The papers", labels={"page": "budget"}
        ),
        markdown=f"{RESULTS}/budget.md",
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
        options=wiring.options,
    message:
        "budget: what every target would cost"
    shell:
        "python -m benchmark budget {params.options} > {log} 2>&1"
