# Raw data to the prepared store: fetch → verify → split → check → prepare. A download, a local copy and the phantom
# take the same way.


def source_argument(wildcards):
    """Where a dataset comes from: a configured folder, a phantom (demo) or a download (paper scale)."""
    if wildcards.dataset in SETTINGS.roots:
        return f"--root {SETTINGS.roots[wildcards.dataset]}"
    return "--phantom" if SETTINGS.scale == "demo" else ""


def a_run_prepared_so(wildcards):
    """Any run that reads this store: runs with the same preparation id prepare alike."""
    return next(
        run
        for target in CATALOG.targets.values()
        for run in runs_of(target)
        if CATALOG.run(run, SETTINGS.scale).preparation_id == wildcards.preparation
    )


localrules:
    fetch_dataset,
    split_cases,
    check_split,


rule fetch_dataset:
    output:
        source=RESULTS + "/data/{dataset}/source.json",
    params:
        source=source_argument,
    log:
        RESULTS + "/logs/data/{dataset}/fetch.log",
    benchmark:
        RESULTS + "/benchmarks/data/{dataset}/fetch.tsv"
    message:
        "{wildcards.dataset}: fetching"
    conda:
        "../../envs/train.yaml"
    threads: 2
    retries: 3
    resources:
        mem_mb=2000,
        runtime=1440,
    shell:
        "{BENCHMARK} fetch {wildcards.dataset} {params.source} --out {output.source} > {log} 2>&1"


rule verify_dataset:
    input:
        source=RESULTS + "/data/{dataset}/source.json",
    output:
        report=RESULTS + "/data/{dataset}/verify.csv",
    log:
        RESULTS + "/logs/data/{dataset}/verify.log",
    benchmark:
        RESULTS + "/benchmarks/data/{dataset}/verify.tsv"
    message:
        "{wildcards.dataset}: verifying every case"
    conda:
        "../../envs/train.yaml"
    threads: 2 if SETTINGS.scale == "demo" else 16
    resources:
        mem_mb=4000 if SETTINGS.scale == "demo" else 32000,
        runtime=720,
    shell:
        "{BENCHMARK} verify {wildcards.dataset} --source {input.source} --out {output.report} > {log} 2>&1"


rule split_cases:
    input:
        source=RESULTS + "/data/{dataset}/source.json",
        verified=RESULTS + "/data/{dataset}/verify.csv",
    output:
        split=RESULTS + "/data/{dataset}/split.json",
    log:
        RESULTS + "/logs/data/{dataset}/split.log",
    benchmark:
        RESULTS + "/benchmarks/data/{dataset}/split.tsv"
    message:
        "{wildcards.dataset}: splitting by patient"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    shell:
        "{BENCHMARK} split {wildcards.dataset} --source {input.source} --out {output.split} > {log} 2>&1"


rule check_split:
    input:
        source=RESULTS + "/data/{dataset}/source.json",
        split=RESULTS + "/data/{dataset}/split.json",
    output:
        checked=touch(RESULTS + "/data/{dataset}/split.checked"),
    log:
        RESULTS + "/logs/data/{dataset}/check_split.log",
    benchmark:
        RESULTS + "/benchmarks/data/{dataset}/check_split.tsv"
    message:
        "{wildcards.dataset}: no patient in two splits"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    shell:
        "{BENCHMARK} split {wildcards.dataset} --source {input.source} --check {input.split} > {log} 2>&1"


rule prepare_cases:
    input:
        source=RESULTS + "/data/{dataset}/source.json",
        verified=RESULTS + "/data/{dataset}/verify.csv",
        split=RESULTS + "/data/{dataset}/split.json",
        checked=RESULTS + "/data/{dataset}/split.checked",
    output:
        prepared=RESULTS + "/data/{dataset}/prepared/{preparation}/prepared.json",
    params:
        run=a_run_prepared_so,
    log:
        RESULTS + "/logs/data/{dataset}/prepare-{preparation}.log",
    benchmark:
        RESULTS + "/benchmarks/data/{dataset}/prepare-{preparation}.tsv"
    message:
        "{wildcards.dataset}: preparing cases as {params.run} needs them"
    conda:
        "../../envs/train.yaml"
    threads: 2 if SETTINGS.scale == "demo" else 16
    resources:
        mem_mb=4000 if SETTINGS.scale == "demo" else 96000,
        runtime=720,
    shell:
        "{BENCHMARK} prepare {params.run} {COMMON} --source {input.source} --split {input.split}"
        " --out {output.prepared} > {log} 2>&1"
