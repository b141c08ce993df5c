# Trained weights to label maps on the raw grid, label maps to scores. Scoring reads files alone.


# From references of the cases that are scored: one file for all networks that are asked by points.
rule draw_prompts:
    input:
        prepared=kept(wiring.store_told, changes.prompts),
        split=kept(wiring.split_told, changes.prompts),
        changed=changes.prompts,
    output:
        prompts=f"{RESULTS}/data/{{dataset}}/prompts/{{preparation}}-{{point}}.json",
    log:
        f"{RESULTS}/logs/data/{{dataset}}/prompts-{{preparation}}-{{point}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/data/{{dataset}}/prompts-{{preparation}}-{{point}}.tsv"
    wildcard_constraints:
        point="random|middle",
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        options=told(OPTIONS),
        run=wiring.run_told,
    message:
        "{wildcards.dataset}: points of the test cases, from their references"
    shell:
        "python -m benchmark prompts {params.run:q} {params.options:q} --store {input.prepared:q} --split {input.split:q}"
        " --out {output.prompts:q} > {log:q} 2>&1"


rule predict_cases:
    input:
        prepared=kept(wiring.prepared, changes.predicted),
        source=kept(wiring.source, changes.predicted),
        split=kept(wiring.split, changes.predicted),
        weights=kept(wiring.weights, changes.predicted),
        prompts=kept(wiring.prompts, changes.predicted),
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
    params:
        options=told(OPTIONS),
    message:
        "{wildcards.run}: labelling the test cases"
    shell:
        "python -m benchmark predict {wildcards.run:q} {params.options:q} --store {input.prepared:q} --source {input.source:q}"
        " --split {input.split:q} --weights {input.weights:q} --prompts {input.prompts:q} --out {output.predicted:q}"
        " > {log:q} 2>&1"


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
        options=told(OPTIONS),
        predictions=wiring.predictions_folder,
        handed_in=wiring.handed_in_argument,
    message:
        "{wildcards.run}: scoring"
    shell:
        "python -m benchmark score-run {wildcards.run:q} {params.options:q} --store {input.prepared:q} --split {input.split:q}"
        " --predictions {params.predictions:q} {params.handed_in:q} --out {output.scores:q} > {log:q} 2>&1"


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
        options=told(OPTIONS),
        run=wiring.run_of_protocol,
        folder=wiring.control_folder,
    message:
        "{wildcards.paper}, {wildcards.protocol}: scoring the controls"
    shell:
        "python -m benchmark score-run {params.run:q} {params.options:q} --store {input.prepared:q} --split {input.split:q}"
        " --controls --out {params.folder:q} > {log:q} 2>&1"


# One point and a disc of median size: what a network that is told the points has to beat.
rule score_point_control:
    input:
        prepared=kept(wiring.control_store, changes.point_control),
        split=kept(wiring.control_split, changes.point_control),
        prompts=kept(wiring.control_prompts, changes.point_control),
        changed=changes.point_control,
    output:
        record=f"{RESULTS}/controls/{{paper}}/{{protocol}}/point_disc.json",
        scores=f"{RESULTS}/controls/{{paper}}/{{protocol}}/point_disc/scores.parquet",
    log:
        f"{RESULTS}/logs/controls/{{paper}}/{{protocol}}-point_disc.log",
    benchmark:
        f"{RESULTS}/benchmarks/controls/{{paper}}/{{protocol}}-point_disc.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1 if DEMO else 16
    resources:
        mem_mb=2000 if DEMO else 32000,
        runtime=240,
    params:
        options=told(OPTIONS),
        run=wiring.run_of_protocol,
        folder=wiring.control_folder,
    message:
        "{wildcards.paper}, {wildcards.protocol}: scoring one point and a disc"
    shell:
        "python -m benchmark score-run {params.run:q} {params.options:q} --store {input.prepared:q} --split {input.split:q}"
        " --controls --prompts {input.prompts:q} --out {params.folder:q} > {log:q} 2>&1"
