"""Time limits that a run's jobs ask the scheduler for, from the budget's estimate. Needs no torch.

A limit close to what a job takes lets SLURM fill gaps with it (backfill). One that was too short costs an attempt and
no work, since trainings and predictions continue; so each attempt asks for as much again. Factor and floors are data,
in budget.yaml beside this file, with their reasons.
"""

from __future__ import annotations

import math
from pathlib import Path

from benchmark.cost.budget import RunBudget, assumptions
from benchmark.cost.planner import Planner
from benchmark.jobs.trainings import TrainingJobs
from benchmark.jobs.wiring import Wildcards, Wiring


class TimeLimits:
    """Functions of wildcards and attempt (1, 2, …), as the rules ask them; minutes.

    A run without an estimate (demo scale, network not counted, dataset without facts) gets the longest limit.

    Args:
        wiring: the catalog, the GPUs of a training, and `longest_job_hours`, which no limit exceeds.

    Raises:
        InputError: as `Planner`.
    """

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._longest = wiring.settings.longest_job_hours * 60
        estimated = not wiring.is_demo and (Path(wiring.catalog.folder) / "datasets.yaml").is_file()
        settings = wiring.settings
        self._planner = Planner(wiring.catalog, settings.scale, rate=settings.rate) if estimated else None

    def training(self, wildcards: Wildcards, attempt: int) -> int:
        budget = self._budget(wildcards)
        hours = None if budget is None else budget.training_hours
        if hours is not None:
            hours /= TrainingJobs(self._wiring).gpus(wildcards)  # the estimate is summed over the GPUs
        return self._minutes("train", hours, attempt)

    def prediction(self, wildcards: Wildcards, attempt: int) -> int:
        budget = self._budget(wildcards)
        return self._minutes("predict", None if budget is None else budget.prediction_hours, attempt)

    def _budget(self, wildcards: Wildcards) -> RunBudget | None:
        if self._planner is None or self._wiring.run(wildcards).dataset not in self._planner.sources:
            return None
        return self._planner.plan(wildcards.run).budget

    def _minutes(self, stage: str, hours: float | None, attempt: int) -> int:
        if hours is None:
            return self._longest
        limits = assumptions().time_limits
        minutes = max(limits.shortest_minutes[stage], math.ceil(limits.factor * hours * 60))
        return min(attempt * minutes, self._longest)
