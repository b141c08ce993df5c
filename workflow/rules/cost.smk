# What a network costs, always at the papers' scale: parameters and FLOPs are counted without data, on the meta device,
# and the time of one scan is measured with random weights.


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
        own=told(OWN),
        paper_tables=told(PAPER_TABLES),
        variant=told(VARIANT),
        made=changes.cost_made,
    message:
        "{wildcards.target}: counting parameters and FLOPs"
    shell:
        "python -m benchmark cost {wildcards.target:q} --paper-tables {params.paper_tables:q} {params.variant:q} {params.own:q}"
        " --out {output.cost:q} --made {params.made:q} --record {output.record:q} > {log:q} 2>&1"


# Seconds of one scan, on a GPU. On a machine without one the file says so, and the table with it.
rule measure_latency:
    input:
        changed=changes.latency,
    output:
        latency=f"{RESULTS}/latency/{{target}}.csv",
        record=f"{RESULTS}/made/latency-{{target}}.json",
    log:
        f"{RESULTS}/logs/latency/{{target}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/latency/{{target}}.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=32000,
        runtime=240,
    params:
        options=told(OPTIONS),
        made=changes.latency_made,
    message:
        "{wildcards.target}: seconds of one scan"
    shell:
        "python -m benchmark latency --target {wildcards.target:q} {params.options:q} --out {output.latency:q}"
        " --made {params.made:q} --record {output.record:q} > {log:q} 2>&1"
