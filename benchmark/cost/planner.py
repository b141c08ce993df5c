"""Estimates for the runs of a catalog before anything starts: stages, steps, GPU-hours, disk. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from benchmark.catalog.catalog import Catalog
from benchmark.catalog.published import UNITS, parse_published
from benchmark.catalog.sources import Source, has_volumes, load_sources, source_of
from benchmark.cost.budget import (
    Counted,
    Rate,
    RunBudget,
    assumed_samples_per_second,
    counted_networks,
    run_budget,
)
from benchmark.cost.planned_jobs import jobs_around, jobs_of_everything, with_drawn_tables
from benchmark.errors import InputError
from benchmark.settings import RunConfig, Scale

STAGES = ("fetch", "verify", "split", "check split", "prepare")  # one job per dataset, the last per preparation


@dataclass(frozen=True)
class RunPlan:
    """One run, or one training that others begin from or are predicted with, before it starts.

    Attributes:
        stores: (dataset, preparation) of every prepared store that it reads.
        trained: whether it is a training; a run that is predicted with another's weights is none.
        scored: whether it is a run; a training that others only begin from is none.
        needs: trainings before it: those that it begins from, or the one whose weights it is predicted with.
        weights: released weights that it begins from or is predicted with.
        budget: estimate; None where the number of training images is unknown.
        method: where the operations of its network come from: counted, printed FLOPs, or unknown.
        drawn: whether one of the targets asked for draws its receptive field.
    """

    run: str
    dataset: str
    preparation: str
    budget: RunBudget | None
    method: str
    drawn: bool = False
    stores: tuple[tuple[str, str], ...] = ()
    trained: bool = True
    scored: bool = True
    needs: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()


@dataclass(frozen=True)
class Totals:
    """Sums over runs, each counted once; `without_hours` of them have no estimate of GPU-hours."""

    runs: int
    jobs: int
    steps: int
    without_steps: int
    gpu_hours: float
    without_hours: int
    disk_bytes: int
    methods: tuple[str, ...]


class Planner:
    """Estimates for runs of a catalog at one scale.

    Args:
        rate: of the GPUs, as `benchmark.cost.budget.Rate`.

    Raises:
        InputError: the rate names a run that is unknown, or whose network has not been counted.
    """

    def __init__(self, catalog: Catalog, scale: Scale = "paper", *, rate: Rate = 1.0) -> None:
        self.catalog, self.scale = catalog, scale
        self.sources = load_sources(catalog.folder)
        self._counted = {
            run: count
            for paper in catalog.papers
            for run, count in counted_networks(catalog.paper_folder(paper)).items()
        }
        self._printed = _printed_costs(catalog)
        self._plans: dict[str, RunPlan] = {}
        self.speed = self._speed(rate) if isinstance(rate, Mapping) else rate

    def _speed(self, measured: Mapping[str, float]) -> float:
        """How many times as fast as the assumed card a card is, by trainings that were timed: their geometric mean."""
        factors = []
        for run, samples_per_second in measured.items():
            config, counted = self.catalog.run(run, "paper"), self._network(run)[0]
            if counted is None:
                raise InputError("nothing is known of this network's operations", where="rate", found=run)
            factors.append(samples_per_second / assumed_samples_per_second(config, counted))
        return math.exp(sum(map(math.log, factors)) / len(factors))

    def source(self, dataset: str) -> Source:
        return source_of(self.sources, dataset)

    def runs(self, targets: Iterable[str]) -> list[RunPlan]:
        """Runs that are scored for these targets, each once, then the trainings behind them that are no runs."""
        wanted = [self.catalog.target(target) for target in targets]
        names = dict.fromkeys(
            run
            for target in wanted
            for run in self.catalog.runs(target, scored=True)
            if not self.catalog.made_elsewhere(run)
        )
        figures = [target for target in wanted if target.draws_receptive_fields or target.draws_features]
        drawn = {run for target in figures for run in self.catalog.runs(target)}
        trainings = dict.fromkeys(name for run in names for name in self.catalog.trainings(run, self.scale))
        plans = [replace(self.plan(run), drawn=run in drawn) for run in names]
        return plans + [self._only_trained(name) for name in trainings if name not in names]

    def totals(self, names: Sequence[str], *, everything: bool = False) -> Totals:
        """Sums over the runs of targets, and all jobs that a dry run of their files plans in an empty folder.

        Args:
            everything: the targets are all there are, and so are the pages and drawings beside them.
        """
        whole = with_drawn_tables(self.catalog, names)
        around = jobs_around(self.catalog, whole, self.scale)
        around += jobs_of_everything(self.catalog, self.scale) if everything else 0
        return replace(totals(self.runs(names)), jobs=jobs(self.runs(whole)) + around)

    def _only_trained(self, training: str) -> RunPlan:
        plan = self.plan(training)
        budget = plan.budget and replace(plan.budget, prediction_hours=plan.budget.prediction_hours and 0.0)
        return replace(plan, scored=False, budget=budget)

    def plan(self, run: str) -> RunPlan:
        if run not in self._plans:
            self._plans[run] = self._plan(run)
        return self._plans[run]

    def _plan(self, run: str) -> RunPlan:
        config = self.catalog.run(run, self.scale)
        source, dimension = self.source(config.dataset), len(config.training.patch)
        volumes = has_volumes(config.dataset)
        trained = config.training_id == run
        samples = self._samples(config) if trained else 0
        counted, method = (None, "not estimated at demo scale") if self.scale == "demo" else self._network(run)
        budget = None
        if samples is not None:
            predicted = source.predicted_images(dimension, volumes) or source.test_cases
            budget = run_budget(config, counted, training_samples=samples, predicted_cases=predicted, speed=self.speed)
            if not trained:
                budget = replace(budget, steps=0, training_hours=budget.training_hours and 0.0, disk_bytes=0)
        stores = config.stores if trained else (config.store,)
        return RunPlan(
            run=run,
            dataset=config.dataset,
            preparation=config.preparation_id,
            budget=budget,
            method=method,
            stores=tuple((store.dataset, store.id) for store in dict.fromkeys((*stores, config.store))),
            trained=trained,
            needs=tuple(edge.training for edge in config.begins_from) if trained else (config.training_id or "",),
            weights=config.model.released if config.training_id in (None, run) else (),
        )

    @cached_property
    def _predicting(self) -> dict[str, str]:
        """Training that is no run → a counted run that is predicted with its weights."""
        trained_by = {run: self.catalog.run(run).training_id for run in self._counted}
        return {training: run for run, training in trained_by.items() if training and training != run}

    def _samples(self, config: RunConfig) -> int | None:
        """Samples of one epoch, over all stores that a training reads; None where one is unknown."""
        samples = [
            self.source(store.dataset).training_samples(config.training, volumes=has_volumes(store.dataset))
            for store in config.stores
        ]
        return None if None in samples else sum(filter(None, samples))

    def _network(self, run: str) -> tuple[Counted | None, str]:
        first_seed = f"{run.rsplit('/', 1)[0]}/seed0"
        if first_seed in self._counted:
            return self._counted[first_seed], "counted"
        if first_seed in self._predicting:  # the network of one training over several datasets, but for its heads
            return self._counted[self._predicting[first_seed]], "counted"
        config = self.catalog.run(run)
        if (same := self._counted_alike(config)) is not None:
            return same, "counted"
        printed = self._printed.get((config.model.name, str(config.model.options), config.dataset))
        return printed, "printed FLOPs" if printed else "unknown"

    def _counted_alike(self, config: RunConfig) -> Counted | None:
        """The count of a row that another recipe trains: the same network on the same patch of the same dataset."""
        paper, _, model, _ = config.run.split("/")
        for run, count in self._counted.items():
            if run.startswith(f"{paper}/") and run.split("/")[2] == model:
                other = self.catalog.run(run)
                if (other.dataset, other.training.patch) == (config.dataset, config.training.patch):
                    return count
        return None


def totals(plans: Sequence[RunPlan]) -> Totals:
    """Sums over runs; a number that is unknown counts as nothing and is told beside it."""
    budgets = [plan.budget for plan in plans]
    steps = [budget.steps for budget in budgets if budget]
    hours = [budget.gpu_hours for budget in budgets if budget and budget.gpu_hours is not None]
    return Totals(
        runs=sum(plan.scored for plan in plans),
        jobs=jobs(plans),
        steps=sum(steps),
        without_steps=len(plans) - len(steps),
        gpu_hours=sum(hours),
        without_hours=len(plans) - len(hours),
        disk_bytes=sum(budget.disk_bytes or 0 for budget in budgets if budget),
        methods=tuple(sorted({plan.method for plan in plans})),
    )


def jobs(plans: Sequence[RunPlan]) -> int:
    """Jobs of the stages before table or figure: per dataset, per preparation, per file of released weights, per
    training, and two per run."""
    stores = {store for plan in plans for store in plan.stores}
    weights = {name for plan in plans for name in plan.weights}
    per_run = sum(plan.trained + 2 * plan.scored + plan.drawn for plan in plans)
    return len({dataset for dataset, _ in stores}) * (len(STAGES) - 1) + len(stores) + len(weights) + per_run


def _printed_costs(catalog: Catalog) -> dict[tuple[str, str, str], Counted]:
    """(network, options, dataset) → operations by the printed FLOPs, where one multiply-add was counted as one."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for target in catalog.targets.values():
        for claim in target.published:
            column, number = target.columns[claim.column], parse_published(claim.value)
            runs = catalog.cell_runs(target, claim.row, claim.column)
            if column.measure in ("flops", "parameters") and runs and number.value is not None:
                config = catalog.run(runs[0])
                key = (config.model.name, str(config.model.options), config.dataset)
                value = float(number.value) * UNITS[column.unit]
                found.setdefault(key, {})[column.measure] = value
    return {
        key: Counted(parameters=int(cost["parameters"]), flops_complete=int(2 * cost["flops"]))
        for key, cost in found.items()
        if len(cost) == 2
    }
