# One job per run. Progress lives in the run's directory, which is no declared output, because Snakemake deletes those
# when a job fails; `trained.json` is written last. Exit code 75 means stopped in order: a retry continues.


rule train_run:
    input:
        prepared=wiring.prepared,
        split=wiring.split,
    output:
        trained=f"{RESULTS}/runs/{{run}}/trained.json",
    log:
        f"{RESULTS}/logs/runs/{{run}}/train.log",
    benchmark:
        f"{RESULTS}/benchmarks/runs/{{run}}/train.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1 if DEMO else 64
    resources:
        gpu=wiring.gpus,
        mem_mb=2500 if DEMO else 256000,
        runtime=2880,
    params:
        options=wiring.options,
        command=wiring.train_command,
        digest=wiring.digest,  # a changed setting trains again; a changed comment does not
    message:
        "{wildcards.run}: training"
    shell:
        "{params.command} {wildcards.run} {params.options} --store {input.prepared} --split {input.split}"
        " --out {output.trained} >> {log} 2>&1"
