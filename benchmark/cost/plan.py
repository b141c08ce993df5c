"""`plan`: runs, stages, optimiser steps, disk and GPU-hours of targets, before anything starts. Needs no torch."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rich.console import Console
from rich.table import Table

from benchmark.catalog.arguments import add_catalog_arguments, catalog_of
from benchmark.catalog.catalog import Catalog
from benchmark.catalog.published import UNITS, parse_published
from benchmark.catalog.sources import PICTURES, Source, load_sources, source_of
from benchmark.cost.budget import Counted, RunBudget, assumptions, counted_networks, run_budget
from benchmark.models.released import weight_source
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
        weights: released weights that it begins from or is predicted with; empty for none.
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
    weights: str = ""


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
    """Estimates for runs of a catalog at one scale."""

    def __init__(self, catalog: Catalog, scale: Scale = "paper") -> None:
        self.catalog, self.scale = catalog, scale
        self.sources = load_sources(catalog.folder)
        self._counted = {
            run: count for paper in catalog.papers for run, count in counted_networks(catalog.folder / paper).items()
        }
        self._printed = _printed_costs(catalog)
        self._plans: dict[str, RunPlan] = {}

    def source(self, dataset: str) -> Source:
        return source_of(self.sources, dataset)

    def runs(self, targets: Iterable[str]) -> list[RunPlan]:
        """Runs that are scored for these targets, each once, then the trainings behind them that are no runs."""
        wanted = [self.catalog.target(target) for target in targets]
        names = dict.fromkeys(run for target in wanted for run in self.catalog.runs(target, scored=True))
        figures = [target for target in wanted if target.draws_receptive_fields or target.draws_features]
        drawn = {run for target in figures for run in self.catalog.runs(target)}
        trainings = dict.fromkeys(name for run in names for name in self.catalog.trainings(run, self.scale))
        plans = [replace(self.plan(run), drawn=run in drawn) for run in names]
        return plans + [self._only_trained(name) for name in trainings if name not in names]

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
        volumes = config.dataset not in PICTURES
        trained = config.training_id == run
        samples = self._samples(config) if trained else 0
        counted, method = self._network(run) if self.scale == "paper" else (None, "not estimated at demo scale")
        budget = None
        if samples is not None:
            predicted = source.predicted_images(dimension, volumes) or source.test_cases
            budget = run_budget(config, counted, training_samples=samples, predicted_cases=predicted)
            if not trained:
                budget = replace(budget, steps=0, training_hours=budget.training_hours and 0.0, disk_bytes=0)
        stores = config.stores if trained else (config.store,)
        released = config.model.initialisation
        return RunPlan(
            run=run,
            dataset=config.dataset,
            preparation=config.preparation_id,
            budget=budget,
            method=method,
            stores=tuple((store.dataset, store.id) for store in dict.fromkeys((*stores, config.store))),
            trained=trained,
            needs=tuple(edge.training for edge in config.begins_from) if trained else (config.training_id or "",),
            weights="" if released == "scratch" or config.training_id not in (None, run) else released,
        )

    def _samples(self, config: RunConfig) -> int | None:
        """Samples of one epoch, over all stores that a training reads; None where one is unknown."""
        samples = [
            self.source(store.dataset).training_samples(config.training, volumes=store.dataset not in PICTURES)
            for store in config.stores
        ]
        return None if None in samples else sum(filter(None, samples))

    def _network(self, run: str) -> tuple[Counted | None, str]:
        first_seed = f"{run.rsplit('/', 1)[0]}/seed0"
        if first_seed in self._counted:
            return self._counted[first_seed], "counted"
        config = self.catalog.run(run)
        printed = self._printed.get((config.model.name, str(config.model.options), config.dataset))
        return printed, "printed FLOPs" if printed else "unknown"


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
    weights = {plan.weights for plan in plans} - {""}
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="*", help="tables or figures; default: all of them")
    parser.add_argument("--runs", action="store_true", help="one line per run as well")
    add_catalog_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    catalog = catalog_of(arguments)
    planner = Planner(catalog, arguments.scale)
    names = arguments.target or list(catalog.targets)
    plans = planner.runs(names)
    console = Console(width=None if Console().is_terminal else 160)
    console.print(_target_table(planner, names, plans))
    if arguments.runs:
        console.print(_run_table(plans))
    console.print(_dataset_table(planner, plans))
    console.print(_weights_table(plans))
    for line in footnotes(plans):
        console.print(line, highlight=False)


def footnotes(plans: Sequence[RunPlan]) -> list[str]:
    """What the numbers assume and leave out."""
    assumed, whole = assumptions(), totals(plans)
    lines = [
        f"GPU-hours: forward operations × {assumed.passes_per_training_step:g} passes × samples ÷ sustained rate "
        f"({', '.join(f'{name} {rate:g} TFLOP/s' for name, rate in assumed.sustained_tflops.items())}, "
        f"{assumed.hardware}); operations counted, or twice the printed FLOPs where the network is not counted yet.",
        "Pre-training and prompts are not in the estimate. A run that several targets need counts once in the total.",
    ]
    if whole.without_hours:
        lines.append(
            f"{whole.without_hours} of {whole.runs} runs have no estimate: network not counted, or number of "
            "slices unknown."
        )
    return lines


def target_cells(planner: Planner, name: str) -> list[str]:
    return [name, *_sums(totals(planner.runs([name])))]


def _sums(whole: Totals) -> list[str]:
    return [
        str(whole.runs),
        str(whole.jobs),
        _partial(f"{whole.steps:,}", whole.without_steps, whole.runs),
        _partial(f"{whole.gpu_hours:,.0f}", whole.without_hours, whole.runs),
        _partial(size(whole.disk_bytes), whole.without_hours, whole.runs),
    ]


def _partial(text: str, missing: int, of: int) -> str:
    """A sum that lacks some of its parts says so; one that has none is unknown."""
    if of and missing == of:
        return "unknown"
    return f"≥ {text}" if missing else text


def size(number: float | None) -> str:
    """Bytes in a readable unit, decimal as on disks."""
    if number is None:
        return "unknown"
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number:.0f} B"


HEADER = ("target", "runs", "jobs", "optimiser steps", "GPU-hours", "checkpoints")


def _target_table(planner: Planner, names: Sequence[str], plans: Sequence[RunPlan]) -> Table:
    table = Table(*HEADER, title=f"{len(names)} targets", title_justify="left")
    for name in names:
        table.add_row(*target_cells(planner, name))
    table.add_section()
    table.add_row("together", *_sums(totals(plans)))
    return table


def _run_table(plans: Sequence[RunPlan]) -> Table:
    table = Table("run", "steps", "GPU-hours", "by", title="runs", title_justify="left")
    for plan in plans:
        hours = plan.budget.gpu_hours if plan.budget else None
        table.add_row(
            plan.run,
            f"{plan.budget.steps:,}" if plan.budget else "unknown",
            "unknown" if hours is None else f"{hours:,.1f}",
            plan.method,
        )
    return table


def _weights_table(plans: Sequence[RunPlan]) -> Table:
    table = Table("weights", "file", "size", "licence", title="released weights", title_justify="left")
    for name in sorted({plan.weights for plan in plans} - {""}):
        source = weight_source(name)
        table.add_row(name, source.file, size(source.bytes), source.licence)
    return table


def _dataset_table(planner: Planner, plans: Sequence[RunPlan]) -> Table:
    table = Table("dataset", "download", "licence", "account", title="datasets", title_justify="left")
    for name in dict.fromkeys(plan.dataset for plan in plans):
        source = planner.source(name)
        table.add_row(name, size(source.download_bytes), source.licence, source.account)
    return table
