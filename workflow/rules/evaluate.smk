# Trained weights to label maps on the raw grid and to receptive fields, label maps to scores. Scoring reads files alone.


rule predict_cases:
    input:
        prepared=kept(wiring.prepared, changes.predicted),
        source=kept(wiring.source, changes.predicted),
        split=kept(wiring.split, changes.predicted),
        weights=kept(wiring.weights, changes.predicted),
        changed=changes.predicted,
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
    message:
        "{wildcards.run}: labelling the test cases"
    shell:
        f"python -m benchmark predict {{wildcards.run}} {OPTIONS} --store {{input.prepared}} --source {{input.source}}"
        " --split {input.split} --weights {input.weights} --out {output.predicted} > {log} 2>&1"


rule measure_receptive_field:
    input:
        prepared=kept(wiring.prepared, changes.receptive_field),
        split=kept(wiring.split, changes.receptive_field),
        weights=kept(wiring.weights, changes.receptive_field),
        changed=changes.receptive_field,
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
        measure=products.receptive_field_options,
    message:
        "{wildcards.run}: how far its encoder sees"
    shell:
        f"python -m benchmark receptive-field {{wildcards.run}} {OPTIONS} {{params.measure}} --store {{input.prepared}}"
        " --split {input.split} --weights {input.weights} --out {output.map} > {log} 2>&1"


rule score_run:
    input:
        prepared=kept(wiring.prepared, changes.scored),
        split=kept(wiring.split, changes.scored),
        predicted=kept(wiring.predicted, changes.scored),
        changed=changes.scored,
    output:
        scores=f"{RESULTS}/runs/{{run}}/scores.parquet",
        record=f"{RESULTS}/runs/{{run}}/scores.json",
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
        predictions=wiring.predictions_folder,
    message:
        "{wildcards.run}: scoring"
    shell:
        f"python -m benchmark score-run {{wildcards.run}} {OPTIONS} --store {{input.prepared}} --split {{input.split}}"
        " --predictions {params.predictions:q} --out {output.scores} > {log} 2>&1"


# Three controls in one job: alike, short, and from the same references.
rule score_controls:
    input:
        prepared=kept(wiring.control_store, changes.controls),
        split=kept(wiring.control_split, changes.controls),
        changed=changes.controls,
    output:
        record=f"{RESULTS}/controls/{{paper}}/{{protocol}}/controls.json",
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
        run=wiring.run_of_protocol,
        folder=wiring.control_folder,
    message:
        "{wildcards.paper}, {wildcards.protocol}: scoring the controls"
    shell:
        f"python -m benchmark score-run {{params.run}} {OPTIONS} --store {{input.prepared}} --split {{input.split}}"
        " --controls --out {params.folder} > {log} 2>&1"
