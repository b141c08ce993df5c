# A face for every score: small pictures of a run's cases, which the page shows beside their scores.


rule draw_cases:
    input:
        prepared=kept(wiring.prepared, changes.case_pictures),
        source=kept(wiring.source, changes.case_pictures),
        predicted=kept(wiring.predicted, changes.case_pictures),
        scores=kept(f"{RESULTS}/runs/{{run}}/scores.parquet", changes.case_pictures),
        changed=changes.case_pictures,
    output:
        record=f"{RESULTS}/runs/{{run}}/cases.json",
    log:
        f"{RESULTS}/logs/runs/{{run}}/cases.log",
    benchmark:
        f"{RESULTS}/benchmarks/runs/{{run}}/cases.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=1000 if DEMO else 16000,
        runtime=30,
    params:
        options=told(OPTIONS),
        predictions=wiring.predictions_folder,
    message:
        "{wildcards.run}: pictures of its cases"
    shell:
        "python -m benchmark draw-cases {wildcards.run:q} {params.options:q} --store {input.prepared:q} --source {input.source:q}"
        " --predictions {params.predictions:q} --scores {input.scores:q} --out {output.record:q} > {log:q} 2>&1"
