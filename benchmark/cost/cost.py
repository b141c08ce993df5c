"""`cost`: parameters and FLOPs of a target's networks, always at the papers' scale; no data and no memory needed."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol, runtime_checkable

from benchmark import lineage
from benchmark.catalog.catalog import Catalog
from benchmark.cost.flops import count_flops
from benchmark.cost.meta import build_on_meta
from benchmark.cost.parameters import count_parameters
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from benchmark.files import csv_text, write_text
from benchmark.models.registry import build_for_run
from benchmark.progress import say, track
from benchmark.settings import RunConfig


@runtime_checkable
class Adds(Protocol):
    """A network of which most is somebody else's, and which knows what it adds to it."""

    def parameters_added(self, classes: int) -> int:
        """Number of parameters for so many classes, background included."""


@dataclass(frozen=True)
class RunCost:
    """One line of a cost file; None where the network could not be counted, and `note` says why.

    Attributes:
        run: run id; cost does not depend on the seed.
        input: input of the counted forward pass, e.g. "1x1x128x128x128".
        parameters, trainable: numbers stored in parameters, and those that are trained.
        flops: fvcore's convention, as the Swin-UMamba papers count (one multiply-add = 1).
        flops_complete: every floating-point operator (one multiply-add = 2).
        multiply_adds: matrix products and convolutions alone.
        parameters_added: what one more dataset with as many classes adds: as the network says, else the whole network
            again.
        made: digest of what decides the count (`benchmark.lineage.counted`).
    """

    run: str
    input: str = ""
    parameters: int | None = None
    trainable: int | None = None
    flops: int | None = None
    flops_complete: int | None = None
    multiply_adds: int | None = None
    note: str = ""
    made: str = ""
    parameters_added: int | None = None


def cost_of_run(config: RunConfig) -> RunCost:
    """Count one run's network on its training patch, with the channels and classes of its dataset.

    Deep-supervision heads are counted where the run's options turn them on.

    Raises:
        InputError: the network refuses its options or this input.
    """
    dataset = get_dataset(config.dataset)
    in_channels, classes = len(dataset.channels), len(config.labels or dataset.label_names) + 1
    classes = config.training.classes(classes - 1)
    if config.training.objective == "masked_images":
        classes = in_channels  # it gives images
    network = build_on_meta(build_for_run, config, in_channels=in_channels, out_channels=classes)
    shape = (1, in_channels, *config.training.patch)
    parameters, flops = count_parameters(network), count_flops(network, shape)
    return RunCost(
        run=config.run,
        input="x".join(map(str, shape)),
        parameters=parameters.parameters,
        trainable=parameters.trainable,
        flops=flops.total("fvcore"),
        flops_complete=flops.total("complete"),
        multiply_adds=flops.total("multiply_adds"),
        note="; ".join(f"{name} is not in flops_complete" for name in flops.unknown),
        made=lineage.digest_of(lineage.counted(config)),
        parameters_added=(network.parameters_added(classes) if isinstance(network, Adds) else parameters.parameters),
    )


def cost_of(catalog: Catalog, run: str) -> RunCost:
    """Count a run, or say why that cannot be done."""
    try:
        return cost_of_run(catalog.run(run, "paper"))
    except InputError as error:
        return RunCost(run, note=f"not attempted ({error.problem})")


def rows_of_target(catalog: Catalog, name: str) -> list[tuple[str, str]]:
    """(row, run) of a target: the first seed of each network and protocol that a row needs, each once."""
    target = catalog.target(name)
    columns: list[str | None] = [column for column, spec in target.columns.items() if spec.measure != "text"] or [None]
    pairs = [(row, catalog.cell_runs(target, row, column)) for row in target.rows for column in columns]
    return list(dict.fromkeys((row, runs[0]) for row, runs in pairs if runs))


def write_costs(path: Path, lines: Iterable[tuple[str, RunCost]], *, with_digest: bool = True) -> None:
    """Write a cost file: the table row, then the fields of `RunCost`; unknown values are empty.

    Args:
        with_digest: also what decides each count, by which a table knows whether it is of today.
    """
    names = [field.name for field in fields(RunCost) if with_digest or field.name != "made"]
    rows = [[row, *("" if (value := getattr(cost, name)) is None else value for name in names)] for row, cost in lines]
    write_text(path, csv_text([["row", *names], *rows]))


def count_runs(catalog: Catalog, runs: Sequence[str]) -> dict[str, RunCost]:
    """Costs of runs by run id."""
    counted = {}
    for run in track(runs, total=len(runs), description="counting networks"):
        counted[run] = cost_of(catalog, run)
        if counted[run].note:
            say(f"{run}: {counted[run].note}")
    return counted


def count_target(catalog: Catalog, name: str, out: Path) -> None:
    """Count every row of a target into `out`."""
    rows = rows_of_target(catalog, name)
    costs = count_runs(catalog, list(dict.fromkeys(run for _, run in rows)))
    write_costs(out, [(row, costs[run]) for row, run in rows])


def count_papers(catalog: Catalog) -> list[Path]:
    """Count every run of every paper, and what the runs' networks are pre-trained as, into
    paper_tables/<paper>/measured/flops.csv, which `plan` reads; the files."""
    written = []
    for name, paper in catalog.papers.items():
        rows = dict.fromkeys(run for target in paper.targets for _, run in rows_of_target(catalog, target))
        own = [run for run in rows if run.startswith(f"{name}/")]
        own += pretrainings(catalog, own)
        costs = count_runs(catalog, own)
        written.append(catalog.paper_folder(name) / "measured" / "flops.csv")
        write_costs(written[-1], [(run.split("/")[2], costs[run]) for run in own], with_digest=False)
    return written


def pretrainings(catalog: Catalog, runs: Iterable[str]) -> list[str]:
    """Trainings that those of these runs begin from, each once: networks of their own."""
    found = [catalog.training(run) for run in runs]
    ends = {config.run for config in found if config is not None}
    return [name for name in dict.fromkeys(name for run in runs for name in catalog.trainings(run)) if name not in ends]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from benchmark.catalog.arguments import add_record_arguments
    from benchmark.catalog.catalog import DEFAULT_FOLDER

    add_record_arguments(parser)
    parser.add_argument("target", nargs="?", help="table or figure whose rows are counted")
    parser.add_argument("--out", type=Path, help="cost file to write (with a target)")
    parser.add_argument("--variant", help="recipe of the rows that have it; default: each row's own")
    parser.add_argument("--table", action="store_true", help="count all papers into their measured/flops.csv instead")
    parser.add_argument("--paper-tables", default=str(DEFAULT_FOLDER), help="folder of claims, specs and protocols")


def main(arguments: argparse.Namespace) -> None:
    from benchmark.catalog.catalog import load_catalog

    catalog = load_catalog(arguments.paper_tables, variant=arguments.variant)
    if arguments.table:
        for path in count_papers(catalog):
            say(f"wrote {path}")
    elif arguments.target and arguments.out:
        count_target(catalog, arguments.target, arguments.out)
    else:
        raise InputError("nothing to count", expected="cost TARGET --out FILE, or cost --table")
