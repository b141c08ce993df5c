"""All that changes while a training runs: taken over from its last checkpoint, and kept in the next one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import Optimizer

from benchmark.errors import InputError
from benchmark.training.checkpoints import Checkpoints
from benchmark.training.processes import Processes, TrainedNetwork, gather_objects
from benchmark.training.randomness import continue_randomness, random_state, seed_everything
from benchmark.training.selection import Selector


@dataclass(frozen=True)
class TrainingState:
    """What a training is at one step, apart from its settings and its data.

    Attributes:
        processes: those that train together; the scaler of losses is theirs.
        network, optimiser: as they stand.
        selector: what it has seen and kept so far; None: the last weights are taken.
        checkpoints: reads and writes the run's checkpoints.
        seed: of the training.
    """

    processes: Processes
    network: TrainedNetwork
    optimiser: Optimizer
    selector: Selector | None
    checkpoints: Checkpoints
    seed: int

    def restore(self) -> int:
        """The first step to do, with all as it was then; 0, with all streams seeded, where there is no checkpoint.

        Raises:
            InputError: as `Checkpoints.load`, or the processes see different files.
        """
        state = self.checkpoints.load()
        steps = gather_objects(state["step"] if state else 0)
        if len(set(steps)) > 1:
            raise InputError(
                "the processes read different checkpoints",
                where=self.checkpoints.folder,
                expected="one step on all of them",
                found=f"steps {steps}, in the order of ranks",
                remedy="give all nodes the same folder, on a disk that they share",
            )
        seed_everything(self.seed, rank=self.processes.rank)
        if state is None:
            return 0
        self.network.module.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        if state["scaler"]:
            self.processes.scaler.load_state_dict(state["scaler"])
        if self.selector is not None:
            self.selector.load_state(state["selection"])
        continue_randomness(state, seed=self.seed, rank=self.processes.rank, world=self.processes.world)
        return state["step"]

    def save(self, step: int, place: Mapping[str, int], *, check: Callable[[], None]) -> None:
        """Write a checkpoint: all processes contribute their random state, and all learn whether the first could write.

        Args:
            step: the first one that is still to be done.
            place: recorded with it, e.g. the epoch.
            check: called on the first process before it writes.

        Raises:
            InputError: what `check` or `Checkpoints.save` raised on the first process, on all of them.
        """
        randomness, problem = gather_objects(random_state()), None
        if self.processes.first:
            try:
                check()
                self.checkpoints.save(self._taken(step, place, randomness), step=step)
            except InputError as error:
                problem = error
        problem = self.processes.broadcast(problem)
        if problem is not None:
            raise problem

    def _taken(self, step: int, place: Mapping[str, int], randomness: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "network": self.network.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.processes.scaler.state_dict(),
            "random": randomness,
            "threads": torch.get_num_threads(),  # the order of sums on a CPU depends on it
            "step": step,
            **place,
            **({"selection": self.selector.state()} if self.selector is not None else {}),
        }
