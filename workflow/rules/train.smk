# One job per training. Progress lives in the run's directory, which is no declared output, because Snakemake deletes those
# when a job fails; `trained.json` is written last. Exit code 75 means stopped in order: a retry continues.


rule train_run:
    input:
        prepared=kept(trainings.prepared, changes.trained),
        splits=kept(trainings.splits, changes.trained),
        checked=kept(trainings.checked, changes.trained),
        beginnings=kept(trainings.beginnings, changes.trained),
        changed=changes.trained,
    output:
        trained=f"{RESULTS}/runs/{{run}}/trained.json",
    log:
        f"{RESULTS}/logs/runs/{{run}}/train.log",
    benchmark:
        f"{RESULTS}/benchmarks/runs/{{run}}/train.tsv"
    conda:
        "../../envs/train.yaml"
    threads: trainings.threads
    resources:
        gpu=trainings.gpus,
        mem_mb=trainings.memory,
        runtime=limits.training,
        nodes=trainings.nodes,
        mpi=trainings.mpi,
        tasks_per_node=trainings.tasks_per_node,
        cpus_per_task=trainings.cpus_per_task,
        launch=trainings.launch,  # one process per GPU: nothing, a launcher, or srun with one on each node
    params:
        options=told(OPTIONS),
        train_options=told(TRAIN_OPTIONS),
    message:
        "{wildcards.run}: training"
    shell:  # `exec` leaves no shell behind, which would die of the signal that asks the training to save
        "exec {resources.launch:u} python -m benchmark train {wildcards.run:q} {params.options:q} {params.train_options:q}"
        " --stores {input.prepared:q} --splits {input.splits:q} --beginnings {input.beginnings:q}"
        " --out {output.trained:q} >> {log:q} 2>&1"
