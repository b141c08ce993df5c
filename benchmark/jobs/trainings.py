"""What the rule `train_run` asks: inputs of a training, and how it is placed on a machine or a cluster.

The wildcard `run` of that rule is the id of a training. Where a training serves one run, it is that run's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.jobs.cluster import Placement, submit_options
from benchmark.jobs.wiring import Wildcards, Wiring
from benchmark.settings import RunConfig

CORES_PER_GPU = 8  # decode and augment patches as fast as one GPU trains on them
MEGABYTES_PER_GPU = 32000


class TrainingJobs:
    """Functions of the wildcards of a training."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring, self._layout, self._settings = wiring, wiring.layout, wiring.settings
        # words of the command line: of the machine, not of the recipe
        self.options = [
            word
            for name, value in wiring.settings.train_options.items()
            if value is not False
            for word in (f"--{name.replace('_', '-')}", *([] if value is True else [str(value)]))
        ]

    def prepared(self, wildcards: Wildcards) -> list[str]:
        return [self._layout.prepared(store.dataset, store.id) for store in self._config(wildcards).stores]

    def splits(self, wildcards: Wildcards) -> list[str]:
        """Of each store; folds that share one differ in their split."""
        config = self._config(wildcards)
        datasets = [store.dataset for store in config.joint] or [config.dataset]
        return [self._layout.split(dataset) for dataset in datasets]

    def checked(self, wildcards: Wildcards) -> list[str]:
        """That no patient is in two parts of a fold; of every other split, preparation has waited for it."""
        config = self._config(wildcards)
        return [self._layout.split_checked(config.dataset)] if config.dataset != config.store.dataset else []

    def beginnings(self, wildcards: Wildcards) -> list[str]:
        """Records of the weights that it begins from: other trainings', in their order, then released files'."""
        config = self._config(wildcards)
        found = [self._layout.trained(beginning.training) for beginning in config.begins_from]
        return found + [self._layout.weights(name) for name in config.model.released]

    def gpus(self, wildcards: Wildcards) -> int:
        return self._placement(wildcards).gpus

    def threads(self, wildcards: Wildcards) -> int:
        """CPU cores on each node."""
        return 1 if self._wiring.is_demo else CORES_PER_GPU * self._placement(wildcards).gpus_on_node

    def memory(self, wildcards: Wildcards) -> int:
        """Megabytes on each node."""
        return 2500 if self._wiring.is_demo else MEGABYTES_PER_GPU * self._placement(wildcards).gpus_on_node

    def launch(self, wildcards: Wildcards, threads: int) -> str:
        return self._placement(wildcards).command(threads=threads)

    def submit_options(self, job: Any) -> str:
        """What sbatch is told beside the resources, of Snakemake's `job`: nothing but for trainings."""
        if job.name != "train_run":
            return ""
        return submit_options(self._placement(job.wildcards), Path(self._layout.trained(job.wildcards.run)).parent)

    def nodes(self, wildcards: Wildcards) -> int:
        """Always said, also for one: SLURM may spread `--gpus` over several nodes otherwise."""
        return self._placement(wildcards).nodes

    # A resource of None is not set. These are for trainings over several nodes only: with `mpi`, the executor plugin
    # leaves `srun` to the rule, and wants at least two tasks per node (of which ours starts one, with all cores).

    def mpi(self, wildcards: Wildcards) -> str | None:
        return "srun" if self.nodes(wildcards) > 1 else None

    def tasks_per_node(self, wildcards: Wildcards) -> int | None:
        return max(self._placement(wildcards).gpus_on_node, 2) if self.nodes(wildcards) > 1 else None

    def cpus_per_task(self, wildcards: Wildcards, threads: int) -> int | None:
        tasks = self.tasks_per_node(wildcards)
        return None if tasks is None else -(-threads // tasks)

    def _config(self, wildcards: Wildcards) -> RunConfig:
        return self._wiring.run(wildcards)

    def _placement(self, wildcards: Wildcards) -> Placement:
        training = self._config(wildcards).training
        most = min(training.devices, self._settings.gpus_per_training or training.devices)
        # every process takes the same share of the batch
        gpus = (
            0 if self._wiring.is_demo else max(number for number in range(1, most + 1) if training.batch % number == 0)
        )
        return Placement(gpus, self._settings.gpus_per_node)
