"""`plan`: runs, stages, optimiser steps, disk and GPU-hours of targets, before anything starts. Needs no torch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmark.catalog.arguments import add_catalog_arguments, catalog_of
from benchmark.cost.budget import add_rate_argument, assumptions, rate_of
from benchmark.cost.planner import Planner, RunPlan, Totals, totals
from benchmark.models.released import weight_source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="*", help="tables or figures; default: all of them")
    parser.add_argument("--runs", action="store_true", help="one line per run as well")
    add_rate_argument(parser)
    add_catalog_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    catalog = catalog_of(arguments)
    planner = Planner(catalog, arguments.scale, rate=rate_of(arguments))
    names = arguments.target or list(catalog.targets)
    plans = planner.runs(names)
    console = Console(width=None if Console().is_terminal else 160)
    console.print(_target_table(planner, names))
    if arguments.runs:
        console.print(_run_table(plans))
    console.print(_dataset_table(planner, plans))
    console.print(_weights_table(plans))
    for line in footnotes(plans, planner.speed):
        console.print(line, highlight=False)


def footnotes(plans: Sequence[RunPlan], speed: float = 1.0) -> list[str]:
    """What the numbers assume and leave out; `speed`: of the card, in assumed ones."""
    assumed, whole = assumptions(), totals(plans)
    own = f"your card: {speed:.3g} times as fast as " if speed != 1 else ""
    lines = [
        f"GPU-hours: forward operations × {assumed.passes_per_training_step:g} passes × samples ÷ sustained rate "
        f"({', '.join(f'{name} {rate:g} TFLOP/s' for name, rate in assumed.sustained_tflops.items())}, "
        f"{own}{assumed.hardware}); operations counted, or twice the printed FLOPs where the network is not counted "
        "yet.",
        "Pre-trainings count; points that networks are told do not. A run that several targets need counts once in "
        "the total.",
    ]
    others = totals([plan for plan in plans if not plan.scored])
    if len(plans) > whole.runs:
        lines.append(
            f"{len(plans) - whole.runs} trainings are no runs (pre-trainings, or one over several datasets): "
            f"{_partial(f'{others.gpu_hours:,.0f}', others.without_hours, len(plans) - whole.runs)} of these GPU-hours."
        )
    if whole.without_hours:
        lines.append(
            f"{whole.without_hours} of {whole.runs} runs have no estimate: network not counted, or number of "
            "slices unknown."
        )
    return lines


def target_cells(planner: Planner, name: str) -> list[str]:
    return [name, *_sums(planner.totals([name]))]


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


def _target_table(planner: Planner, names: Sequence[str]) -> Table:
    table = Table(*HEADER, title=f"{len(names)} targets", title_justify="left")
    for name in names:
        table.add_row(*target_cells(planner, name))
    table.add_section()
    together = planner.totals(names, everything=set(names) == set(planner.catalog.targets))
    table.add_row("together", *_sums(together))
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
    for name in sorted({name for plan in plans for name in plan.weights}):
        source = weight_source(name)
        table.add_row(name, source.file, size(source.bytes), source.licence)
    return table


def _dataset_table(planner: Planner, plans: Sequence[RunPlan]) -> Table:
    table = Table("dataset", "download", "licence", "account", title="datasets", title_justify="left")
    for name in dict.fromkeys(plan.dataset for plan in plans):
        source = planner.source(name)
        table.add_row(name, size(source.download_bytes), source.licence, source.account)
    return table
