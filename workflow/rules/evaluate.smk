# Trained weights to label maps on the raw grid and to receptive fields, label maps to scores. Scoring reads files alone.


rule predict_cases:
    input:
        prepared=wiring.prepared,
        source=wiring.source,
        split=wiring.split,
        trained=f"{RESULTS}/runs/{{run}}/trained.json",
    output:
        predicted=f"{RESULTS}/runs/{{run}}/predicted.json",
    log:
        f"{RESULTS}/logs/runs/{{run}}/predict.log",
    benchmark:
        f"{RESULTS}/benchmarks/runs/{{run}}/predict.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1 if DEMO else 16
    resources:
        gpu=0 if DEMO else 1,
        mem_mb=2500 if DEMO else 64000,
        runtime=limits.prediction,
    params:
        options=wiring.options,
    message:
        "{wildcards.run}: labelling the test cases"
    shell:
        "python -m benchmark predict {wildcards.run} {params.options} --store {input.prepared} --source {input.source}"
        " --split {input.split} --trained {input.trained} --out {output.predicted} > {log} 2>&1"


rule measure_receptive_field:
    input:
        prepared=wiring.prepared,
        split=wiring.split,
        trained=f"{RESULTS}/runs/{{run}}/trained.json",
    output:
        map=f"{RESULTS}/runs/{{run}}/receptive_field.npy",
        record=f"{RESULTS}/runs/{{run}}/receptive_field.json",
    log:
        f"{RESULTS}/logs/runs/{{run}}/receptive_field.log",
    benchmark:
        f"{RESULTS}/benchmarks/runs/{{run}}/receptive_field.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1 if DEMO else 8
    resources:
        gpu=0 if DEMO else 1,
        mem_mb=2500 if DEMO else 32000,
        runtime=120,
    params:
        options=wiring.options,
        measure=wiring.receptive_field_options,
    message:
        "{wildcards.run}: how far its encoder sees"
    shell:
        "python -m benchmark receptive-field {wildcards.run} {params.options} {params.measure} --store {input.prepared}"
        " --split {input.split} --trained {input.trained} --out {output.map} > {log} 2>&1"


rule score_run:
    input:
        prepared=wiring.prepared,
        split=wiring.split,
        predicted=wiring.predicted,
    output:
        scores=f"{RESULTS}/runs/{{run}}/scores.parquet",
    log:
        f"{RESULTS}/logs/runs/{{run}}/score.log",
    benchmark:
        f"{RESULTS}/benchmarks/runs/{{run}}/score.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1 if DEMO else 16
    resources:
        mem_mb=2000 if DEMO else 64000,
        runtime=240,
    params:
        options=wiring.options,
        predictions=wiring.predictions_folder,
    message:
        "{wildcards.run}: scoring"
    shell:
        "python -m benchmark score-run {wildcards.run} {params.options} --store {input.prepared} --split {input.split}"
        " --predictions {params.predictions} --out {output.scores} > {log} 2>&1"


# Three controls in one job: alike, short, and from the same references.
rule score_controls:
    input:
        prepared=wiring.control_store,
        split=wiring.control_split,
    output:
        scores=wiring.control_outputs,
    log:
        f"{RESULTS}/logs/controls/{{paper}}/{{protocol}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/controls/{{paper}}/{{protocol}}.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1 if DEMO else 16
    resources:
        mem_mb=2000 if DEMO else 64000,
        runtime=480,
    params:
        options=wiring.options,
        run=wiring.run_of_protocol,
        folder=wiring.control_folder,
    message:
        "{wildcards.paper}, {wildcards.protocol}: scoring the controls"
    shell:
        "python -m benchmark score-run {params.run} {params.options} --store {input.prepared} --split {input.split}"
        " --controls --out {params.folder} > {log} 2>&1"
