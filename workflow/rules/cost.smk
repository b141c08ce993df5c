# What a network costs, always at the papers' scale: parameters and FLOPs are counted without data, on the meta device.


rule count_cost:
    output:
        cost=RESULTS + "/cost/{target}.csv",
    log:
        RESULTS + "/logs/cost/{target}.log",
    benchmark:
        RESULTS + "/benchmarks/cost/{target}.tsv"
    message:
        "{wildcards.target}: counting parameters and FLOPs"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=30,
    shell:
        "{BENCHMARK} cost {wildcards.target} --paper-tables {SETTINGS.paper_tables} --out {output.cost} > {log} 2>&1"
