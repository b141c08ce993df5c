# What a network costs, always at the papers' scale: parameters and FLOPs are counted without data, on the meta device.


rule count_cost:
    input:
        changed=changes.cost,
    output:
        cost=f"{RESULTS}/cost/{{target}}.csv",
        record=f"{RESULTS}/made/cost-{{target}}.json",
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
        made=changes.cost_made,
    message:
        "{wildcards.target}: counting parameters and FLOPs"
    shell:
        "python -m benchmark cost {wildcards.target:q} --paper-tables {PAPER_TABLES:q} --out {output.cost:q}"
        " --made {params.made:q} --record {output.record:q} > {log:q} 2>&1"
