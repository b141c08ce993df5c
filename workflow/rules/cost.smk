# What a network costs, always at the papers' scale: parameters and FLOPs are counted without data, on the meta device.


rule count_cost:
    output:
        cost=f"{RESULTS}/cost/{{target}}.csv",
    log:
        f"{RESULTS}/logs/cost/{{target}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/cost/{{target}}.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        paper_tables=wiring.settings.paper_tables,
    message:
        "{wildcards.target}: counting parameters and FLOPs"
    shell:
        "python -m benchmark cost {wildcards.target} --paper-tables {params.paper_tables} --out {output.cost} > {log} 2>&1"
