"""`schedule`: when everything would be finished on so many GPUs, simulated before anything starts. Needs no torch.

Method: list scheduling, as SLURM with a fair queue does it: whenever something ends, the waiting job with the longest
way still before it starts first, on the fullest node that has room; smaller jobs pass it (backfill).
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmark.catalog.arguments import add_catalog_arguments, catalog_of
from benchmark.catalog.protocols import base_protocol
from benchmark.cost.budget import add_rate_argument, assumptions, rate_of
from benchmark.cost.plan import size
from benchmark.cost.planner import Planner, RunPlan
from benchmark.errors import InputError
from benchmark.files import make_folder

GPUS_PER_NODE = 8
# What the estimate of GPU-hours has no numbers for: a download at 400 Mbit/s; a preparation that reads, resamples and
# compresses 50 MB of raw archive a second on 16 cores.
DOWNLOAD_BYTES_PER_HOUR = 50e6 * 3600
PREPARE_BYTES_PER_HOUR = 50e6 * 3600


@dataclass(frozen=True)
class Job:
    """One job: GPUs on one node (0: a CPU node, of which there are enough), wall-clock hours, and what it waits for.

    Attributes:
        family: the protocol that the job's is a recipe of, or the job's own; empty for what serves several.
    """

    name: str
    stage: str
    gpus: int
    hours: float
    needs: tuple[str, ...] = ()
    family: str = ""


@dataclass(frozen=True)
class Placed:
    """When and where (index of the GPU node; None on a CPU node) a job runs, in hours from the start."""

    job: Job
    start: float
    node: int | None

    @property
    def end(self) -> float:
        return self.start + self.job.hours


def jobs_of(planner: Planner, plans: Sequence[RunPlan]) -> tuple[list[Job], list[str]]:
    """Jobs of these runs, and the runs left out because their hours are unknown."""
    jobs: dict[str, Job] = {}
    unknown = []
    for plan in plans:
        budget = plan.budget
        if budget is None or budget.training_hours is None or budget.prediction_hours is None:
            unknown.append(plan.run)
            continue
        paper, protocol = plan.run.split("/")[:2]
        family = base_protocol(planner.catalog.papers[paper].protocols, protocol)
        needs = tuple(f"train {name}" for name in plan.needs if name)
        for dataset, preparation in plan.stores:
            fetch, prepare = f"fetch {dataset}", f"prepare {dataset} {preparation}"
            size_ = planner.source(dataset).download_bytes or 0
            jobs[fetch] = Job(fetch, "fetch", 0, size_ / DOWNLOAD_BYTES_PER_HOUR)
            jobs[prepare] = Job(prepare, "prepare", 0, size_ / PREPARE_BYTES_PER_HOUR, (fetch,))
            needs += (prepare,)
        if plan.trained:
            devices = planner.catalog.run(plan.run).training.devices
            train = Job(f"train {plan.run}", "train", devices, budget.training_hours / devices, needs, family)
            jobs[train.name] = train
            needs = (train.name,)
        if plan.scored:
            predict = Job(f"predict {plan.run}", "predict", 1, budget.prediction_hours, needs, family)
            jobs[predict.name] = predict
    return _in_order(jobs), unknown


def _in_order(jobs: dict[str, Job]) -> list[Job]:
    """Each after those that it needs; a need whose own hours are unknown is no job, and waits for nothing."""
    known = {name: [need for need in job.needs if need in jobs] for name, job in jobs.items()}
    order = TopologicalSorter(known).static_order()
    return [replace(jobs[name], needs=tuple(known[name])) for name in order]


def remaining_hours(jobs: Iterable[Job]) -> dict[str, float]:
    """Longest way from the start of each job to the end of everything that waits for it: its priority.

    Args:
        jobs: each after those that it needs.
    """
    jobs = list(jobs)
    longest = {job.name: job.hours for job in jobs}
    hours = dict(longest)
    for job in reversed(jobs):
        for need in job.needs:
            longest[need] = max(longest[need], hours[need] + longest[job.name])
    return longest


def simulate(jobs: Sequence[Job], *, gpus: int, gpus_per_node: int = GPUS_PER_NODE) -> list[Placed]:
    """Place every job; the order of the result is that of the starts.

    Args:
        jobs: each after those that it needs.
        gpus: of the whole cluster, in nodes of `gpus_per_node`.

    Raises:
        InputError: a job needs more GPUs than a node has.
    """
    free = [min(gpus_per_node, gpus - first) for first in range(0, gpus, gpus_per_node)]
    too_large = next((job for job in jobs if job.gpus > max(free)), None)
    if too_large:
        raise InputError(f"{too_large.name} needs {too_large.gpus} GPUs on one node", expected=f"at most {max(free)}")
    priority = remaining_hours(jobs)
    waiting = sorted(jobs, key=lambda job: (-priority[job.name], job.name))
    running: list[tuple[float, int, Placed]] = []
    done: set[str] = set()
    placed: list[Placed] = []
    now = 0.0
    while waiting or running:
        still = []
        for job in waiting:
            node = _room(free, job.gpus) if done.issuperset(job.needs) else -1
            if node == -1:
                still.append(job)
                continue
            if node is not None:
                free[node] -= job.gpus
            start = Placed(job, now, node)
            placed.append(start)
            heapq.heappush(running, (start.end, len(placed), start))
        waiting = still
        now, _, ended = heapq.heappop(running)
        done.add(ended.job.name)
        if ended.node is not None:
            free[ended.node] += ended.job.gpus
    return placed


def _room(free: Sequence[int], gpus: int) -> int | None:
    """The fullest node with room, None for a job without GPUs, -1 if it must wait."""
    if gpus == 0:
        return None
    nodes = [node for node, left in enumerate(free) if left >= gpus]
    return min(nodes, key=lambda node: free[node]) if nodes else -1


def draw(placed: Sequence[Placed], path: Path, *, gpus: int) -> None:
    """Gantt chart: a bar on each GPU of a training, and paler of a prediction, coloured by family of protocols."""
    import matplotlib
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    families = sorted({one.job.family for one in placed if one.job.gpus})
    palette = style.library["tableau-colorblind10"]["axes.prop_cycle"].by_key()["color"]
    colours = dict(zip(families, palette * len(families), strict=False))
    figure = Figure(figsize=(10, 1.5 + min(gpus, 64) * 0.08))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    ends = [0.0] * gpus
    for one in placed:
        if one.node is None:
            continue
        first = one.node * GPUS_PER_NODE
        rows = [row for row in range(first, min(first + GPUS_PER_NODE, gpus)) if ends[row] <= one.start + 1e-9]
        for row in rows[: one.job.gpus]:
            ends[row] = one.end
            shade = 1.0 if one.job.stage == "train" else 0.4
            bar = {"left": one.start / 24, "height": 0.9, "color": colours[one.job.family], "alpha": shade}
            axes.barh(row, one.job.hours / 24, linewidth=0, **bar)
    axes.set(xlabel="days", ylabel="GPU", title=f"{gpus} GPUs", ylim=(-0.5, gpus - 0.5), xlim=(0, None))
    handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
    axes.legend(handles, list(colours), fontsize="x-small", loc="upper left", bbox_to_anchor=(1.01, 1.0))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "retable"}):  # text as text, the same bytes
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None} if path.suffix == ".svg" else None)


def summary(jobs: Sequence[Job], sizes: Sequence[int]) -> tuple[Table, dict[int, list[Placed]]]:
    """One line per cluster size: makespan beside the two bounds that no schedule can beat."""
    area, longest = sum(job.gpus * job.hours for job in jobs), max(remaining_hours(jobs).values(), default=0.0)
    table = Table("GPUs", "makespan", "GPU-hours", "all GPUs busy", "critical path", "jobs", "GPUs used")
    schedules = {}
    for gpus in sizes:
        schedules[gpus] = placed = simulate(jobs, gpus=gpus)
        makespan = max((one.end for one in placed), default=0.0)
        table.add_row(
            str(gpus), days(makespan), f"{area:,.0f}", days(area / gpus), days(longest), str(len(jobs)),
            f"{area / gpus / makespan:.0%}" if makespan else "",
        )  # fmt: skip
    return table, schedules


def days(hours: float) -> str:
    return f"{hours / 24:,.1f} days" if hours >= 48 else f"{hours:.1f} h"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="*", help="tables or figures; default: all of them")
    parser.add_argument("--gpus", type=_positive, nargs="+", default=[8, 32, 128], help="sizes of cluster")
    parser.add_argument("--gantt", type=Path, help="folder for a picture per size: gantt-<gpus>.svg")
    add_rate_argument(parser)
    add_catalog_arguments(parser)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"a number of GPUs was expected, not {text!r}")
    return int(text)


def main(arguments: argparse.Namespace) -> None:
    catalog = catalog_of(arguments)
    planner = Planner(catalog, rate=rate_of(arguments))
    plans = planner.runs(arguments.target or list(catalog.targets))
    jobs, unknown = jobs_of(planner, plans)
    table, schedules = summary(jobs, arguments.gpus)
    console = Console(width=None if Console().is_terminal else 140)
    console.print(table)
    known = [plan for plan in plans if plan.run not in set(unknown)]
    disk = sum(plan.budget.disk_bytes or 0 for plan in known if plan.budget)
    raw = sum(planner.source(name).download_bytes or 0 for name in {plan.dataset for plan in known})
    prepared = {(plan.dataset, plan.preparation) for plan in known}
    stored = assumptions().prepared_bytes_per_archive_byte * sum(
        planner.source(name).download_bytes or 0 for name, _ in prepared
    )
    console.print(f"Disk: checkpoints {size(disk)}, downloads {size(raw)}, prepared stores {size(stored)}.")
    console.print(f"{len(unknown)} of {len(plans)} runs have no estimate and are left out.", highlight=False)
    if arguments.gantt:
        make_folder(arguments.gantt)
        for gpus, placed in schedules.items():
            draw(placed, arguments.gantt / f"gantt-{gpus}.svg", gpus=gpus)
