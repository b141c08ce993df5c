# Raw data to the prepared store: fetch → verify → split → check → prepare. A download, a local copy and the phantom
# take the same way.


localrules:
    fetch_dataset,
    fetch_weights,
    split_cases,
    check_split,


rule fetch_dataset:
    input:
        changed=changes.source,
    output:
        source=f"{RESULTS}/data/{{dataset}}/source.json",
    log:
        f"{RESULTS}/logs/data/{{dataset}}/fetch.log",
    benchmark:
        f"{RESULTS}/benchmarks/data/{{dataset}}/fetch.tsv"
    retries: 3
    conda:
        "../../envs/train.yaml"
    threads: 1 if DEMO else 2
    resources:
        mem_mb=2000,
        runtime=1440,
    params:
        own=told(OWN),
        source=wiring.source_argument,
    message:
        "{wildcards.dataset}: fetching"
    shell:
        "python -m benchmark fetch {wildcards.dataset:q} {params.own:q} {params.source:q}"
        " --out {output.source:q} > {log:q} 2>&1"


rule fetch_weights:
    output:
        record=f"{RESULTS}/weights/{{weights}}.json",
    log:
        f"{RESULTS}/logs/weights/{{weights}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/weights/{{weights}}.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=720,
    params:
        weights=told(WEIGHTS),
    message:
        "{wildcards.weights}: released weights, by download or from the folder of those placed by hand"
    shell:
        "python -m benchmark fetch-weights {wildcards.weights:q} --folder {params.weights:q} --out {output.record:q} > {log:q} 2>&1"


rule verify_dataset:
    input:
        source=kept(f"{RESULTS}/data/{{dataset}}/source.json", changes.verified),
        changed=changes.verified,
    output:
        verified=f"{RESULTS}/data/{{dataset}}/verified.json",
    log:
        f"{RESULTS}/logs/data/{{dataset}}/verify.log",
    benchmark:
        f"{RESULTS}/benchmarks/data/{{dataset}}/verify.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1 if DEMO else 16
    resources:
        mem_mb=2500 if DEMO else 32000,
        runtime=720,
    params:
        own=told(OWN),
    message:
        "{wildcards.dataset}: verifying every case"
    shell:
        "python -m benchmark verify {wildcards.dataset:q} {params.own:q}"
        " --source {input.source:q} --out {output.verified:q} > {log:q} 2>&1"


rule split_cases:
    input:
        source=kept(wiring.source_of, changes.split),
        verified=kept(wiring.verified_of, changes.split),
        changed=changes.split,
    output:
        split=f"{RESULTS}/data/{{dataset}}/split.json",
    log:
        f"{RESULTS}/logs/data/{{dataset}}/split.log",
    benchmark:
        f"{RESULTS}/benchmarks/data/{{dataset}}/split.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        own=told(OWN),
    message:
        "{wildcards.dataset}: splitting by patient"
    shell:
        "python -m benchmark split {wildcards.dataset:q} {params.own:q}"
        " --source {input.source:q} --out {output.split:q} > {log:q} 2>&1"


rule check_split:
    input:
        source=kept(wiring.source_of, changes.split_checked),
        split=kept(f"{RESULTS}/data/{{dataset}}/split.json", changes.split_checked),
        changed=changes.split_checked,
    output:
        checked=f"{RESULTS}/data/{{dataset}}/split_checked.json",
    log:
        f"{RESULTS}/logs/data/{{dataset}}/check_split.log",
    benchmark:
        f"{RESULTS}/benchmarks/data/{{dataset}}/check_split.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        own=told(OWN),
    message:
        "{wildcards.dataset}: no patient in two splits"
    shell:
        "python -m benchmark split {wildcards.dataset:q} {params.own:q} --source {input.source:q} --check {input.split:q}"
        " --record {output.checked:q} > {log:q} 2>&1"


rule prepare_cases:
    input:
        source=kept(wiring.source_of, changes.prepared),
        verified=kept(wiring.verified_of, changes.prepared),
        split=kept(f"{RESULTS}/data/{{dataset}}/split.json", changes.prepared),
        checked=kept(f"{RESULTS}/data/{{dataset}}/split_checked.json", changes.prepared),
        changed=changes.prepared,
    output:
        prepared=f"{RESULTS}/data/{{dataset}}/prepared/{{preparation}}/prepared.json",
    log:
        f"{RESULTS}/logs/data/{{dataset}}/prepare-{{preparation}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/data/{{dataset}}/prepare-{{preparation}}.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1 if DEMO else 16
    resources:
        mem_mb=2500 if DEMO else 96000,
        runtime=720,
    params:
        options=told(OPTIONS),
        run=wiring.run_prepared_so,
    message:
        "{wildcards.dataset}: preparing cases as {params.run} needs them"
    shell:
        "python -m benchmark prepare {params.run:q} {params.options:q} --preparation {wildcards.preparation:q}"
        " --source {input.source:q} --split {input.split:q} --out {output.prepared:q} > {log:q} 2>&1"
