# One job per run. Progress lives in the run's directory, which is no declared output, because Snakemake deletes those
# when a job fails; `trained.json` is written last. Exit code 75 means stopped in order: a retry continues.


def gpus_of(wildcards):
    return run_of(wildcards).training.devices if SETTINGS.scale == "paper" else 0


def train_command(wildcards):
    """One process per GPU; without GPUs one process. Never `tasks`: SLURM would start the job once per GPU."""
    gpus = gpus_of(wildcards)
    launcher = f" -m torch.distributed.run --standalone --nproc-per-node={gpus}" if gpus > 1 else ""
    return f"{sys.executable}{launcher} -m benchmark"


def digest_of(wildcards):
    return run_of(wildcards).digest


rule train_run:
    input:
        prepared=prepared_of,
        split=split_of,
    output:
        trained=RESULTS + "/runs/{run}/trained.json",
    params:
        command=train_command,
        digest=digest_of,  # a changed setting trains again; a changed comment does not
    log:
        RESULTS + "/logs/runs/{run}/train.log",
    benchmark:
        RESULTS + "/benchmarks/runs/{run}/train.tsv"
    message:
        "{wildcards.run}: training"
    conda:
        "../../envs/train.yaml"
    threads: 1 if SETTINGS.scale == "demo" else 64
    resources:
        gpu=gpus_of,
        mem_mb=2500 if SETTINGS.scale == "demo" else 256000,
        runtime=2880,
    shell:
        "{params.command} train {wildcards.run} {COMMON} --store {input.prepared} --split {input.split}"
        " --out {output.trained} >> {log} 2>&1"
