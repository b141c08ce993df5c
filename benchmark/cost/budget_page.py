"""`budget`: what every target costs before it is started, as a page: results/budget.csv and .md. Needs no torch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmark.catalog.arguments import (
    add_catalog_arguments,
    add_record_arguments,
    add_results_argument,
    catalog_of,
    results_of,
)
from benchmark.cost.budget import add_rate_argument, dataset_budget, rate_of
from benchmark.cost.plan import HEADER, footnotes, size, target_cells
from benchmark.cost.planner import Planner, RunPlan, totals
from benchmark.datasets import get_dataset
from benchmark.files import csv_text, write_text
from benchmark.markdown import aligned
from benchmark.progress import say
from benchmark.settings import Scale

COLUMNS = (
    "paper", "target", "runs", "jobs", "optimiser_steps", "runs_without_steps", "gpu_hours",
    "runs_without_gpu_hours", "method", "checkpoint_bytes", "download_bytes", "scratch_bytes", "datasets", "licences",
    "accounts",
)  # fmt: skip
INTRODUCTION = "Estimates at the paper's scale, made before anything starts: for deciding, not for reporting."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_rate_argument(parser)
    add_catalog_arguments(parser)
    add_results_argument(parser)
    add_record_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Write `budget.csv` (one line per target) and `budget.md`; for the paper's scale, or a pilot's share of it."""
    catalog = catalog_of(arguments)
    layout = results_of(arguments)
    scale: Scale = "pilot" if arguments.scale == "pilot" else "paper"
    planner = Planner(catalog, scale, rate=rate_of(arguments))
    write_text(f"{layout.root}/budget.csv", budget_csv(planner))
    write_text(f"{layout.root}/budget.md", budget_markdown(planner))
    say(f"{totals(planner.runs(catalog.targets)).runs} runs: {layout.root}/budget.md")
    return 0


def budget_csv(planner: Planner) -> str:
    """One line per target; unknown sizes are empty."""
    rows: list[list[object]] = [list(COLUMNS)]
    for name, target in planner.catalog.targets.items():
        plans = planner.runs([name])
        whole, datasets = planner.totals([name]), datasets_of(plans)
        download, scratch = disk(planner, datasets)
        sources = [planner.source(dataset) for dataset in datasets]
        rows.append([
            target.paper, name, whole.runs, whole.jobs, whole.steps, whole.without_steps,
            f"{whole.gpu_hours:.1f}", whole.without_hours, "; ".join(whole.methods), whole.disk_bytes,
            _known(download), _known(scratch), " ".join(datasets),
            "; ".join(dict.fromkeys(source.licence for source in sources)),
            "; ".join(dict.fromkeys(source.account for source in sources)),
        ])  # fmt: skip
    return csv_text(rows)


def _known(number: int | None) -> str:
    return "" if number is None else str(number)


def datasets_of(plans: Sequence[RunPlan]) -> list[str]:
    return list(dict.fromkeys(plan.dataset for plan in plans))


def disk(planner: Planner, datasets: Sequence[str]) -> tuple[int | None, int | None]:
    """Bytes to download and bytes of scratch (unpacked and prepared); an archive that two datasets share counts once.

    None where the size of any of them is unknown.
    """
    sources = {planner.source(name).archive: planner.source(name) for name in datasets}
    downloads = [source.download_bytes for source in sources.values()]
    scratch = [_scratch(name) for name in datasets]
    return _sum(downloads), _sum(scratch)


def _scratch(name: str) -> int | None:
    if not get_dataset(name).archives:
        return None
    budget = dataset_budget(get_dataset(name))
    return _sum([budget.unpacked_bytes, budget.prepared_bytes])


def _sum(parts: Sequence[int | None]) -> int | None:
    return None if None in parts else sum(part or 0 for part in parts)


def budget_markdown(planner: Planner) -> str:
    """Targets, then datasets with licence and account, then what the estimate assumes."""
    catalog = planner.catalog
    plans = planner.runs(catalog.targets)
    rows = [[*HEADER, "operations", "download"]]
    for name in catalog.targets:
        own = planner.runs([name])
        by = ", ".join(totals(own).methods) or "nothing to run"
        rows.append([*target_cells(planner, name), by, size(disk(planner, datasets_of(own))[0])])
    whole = totals(plans)
    unknown = f" ({whole.without_hours} runs without an estimate)" if whole.without_hours else ""
    summary = (
        f"Together, each run once: {whole.runs} runs, at least {whole.steps:,} optimiser "
        f"steps and {whole.gpu_hours:,.0f} GPU-hours{unknown}, {size(whole.disk_bytes)} of checkpoints."
    )
    pilot = f" Here {catalog.share:.0%} of the steps." if planner.scale == "pilot" else ""
    parts = ["# Budget: what it would cost", INTRODUCTION + pilot, "## Targets", aligned(rows), summary]
    parts += ["## Datasets", _datasets(planner, datasets_of(plans)), "## Method"]
    parts.append("\n".join(f"- {line}" for line in footnotes(plans, planner.speed)))
    return "\n\n".join(parts) + "\n"


def _datasets(planner: Planner, names: Sequence[str]) -> str:
    rows = [["dataset", "title", "download", "scratch", "licence", "account", "note"]]
    for name in names:
        source = planner.source(name)
        sizes = [size(source.download_bytes), size(_scratch(name))]
        rows.append([name, source.title, *sizes, source.licence, source.account, source.note])
    return aligned(rows)
