# Trained weights to label maps on the raw grid, label maps to scores. Scoring reads files alone.


def inference_gpus(wildcards):
    return 1 if SETTINGS.scale == "paper" else 0


rule predict_cases:
    input:
        prepared=prepared_of,
        source=source_of,
        split=split_of,
        trained=RESULTS + "/runs/{run}/trained.json",
    output:
        predicted=RESULTS + "/runs/{run}/predicted.json",
    log:
        RESULTS + "/logs/runs/{run}/predict.log",
    benchmark:
        RESULTS + "/benchmarks/runs/{run}/predict.tsv"
    message:
        "{wildcards.run}: labelling the test cases"
    conda:
        "../../envs/train.yaml"
    threads: 1 if SETTINGS.scale == "demo" else 16
    resources:
        gpu=inference_gpus,
        mem_mb=2500 if SETTINGS.scale == "demo" else 64000,
        runtime=720,
    shell:
        "{BENCHMARK} predict {wildcards.run} {COMMON} --store {input.prepared} --source {input.source}"
        " --split {input.split} --trained {input.trained} --out {output.predicted} > {log} 2>&1"


rule score_run:
    input:
        prepared=prepared_of,
        split=split_of,
        predicted=lambda wildcards: LAYOUT.predicted(wildcards.run),
    output:
        scores=RESULTS + "/runs/{run}/scores.parquet",
    log:
        RESULTS + "/logs/runs/{run}/score.log",
    benchmark:
        RESULTS + "/benchmarks/runs/{run}/score.tsv"
    message:
        "{wildcards.run}: scoring"
    conda:
        "../../envs/train.yaml"
    threads: 1 if SETTINGS.scale == "demo" else 16
    resources:
        mem_mb=2000 if SETTINGS.scale == "demo" else 64000,
        runtime=240,
    shell:
        "{BENCHMARK} score-run {wildcards.run} {COMMON} --store {input.prepared} --split {input.split}"
        " --predicted {input.predicted} --out {output.scores} > {log} 2>&1"
