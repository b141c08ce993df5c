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
    threads: wiring.threads
    resources:
        gpu=wiring.gpus,
        mem_mb=wiring.memory,
        runtime=limits.training,
        nodes=wiring.nodes,
        mpi=wiring.mpi,
        tasks_per_node=wiring.tasks_per_node,
        cpus_per_task=wiring.cpus_per_task,
        slurm_extra=wiring.slurm_extra,
        launch=wiring.launch,  # no parameter: a run on another number of nodes is the same run
    params:
        options=wiring.options,
        digest=wiring.digest,  # a changed setting trains again; a changed comment does not
    message:
        "{wildcards.run}: training"
    shell:
        "{resources.launch} {wildcards.run} {params.options} --store {input.prepared} --split {input.split}"
        " --out {output.trained} >> {log} 2>&1"
