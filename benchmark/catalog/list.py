"""`list`: what there is, in readable tables."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmark.catalog.arguments import add_catalog_arguments, catalog_of
from benchmark.catalog.catalog import Catalog
from benchmark.datasets import available_datasets, get_dataset
from benchmark.models.registry import available_models
from benchmark.models.released import weight_sources
from benchmark.scoring.conventions import load_conventions

SITUATIONS = ("both_empty", "empty_reference", "empty_prediction", "missing_prediction")
WEIGHTS = Path("weights")
Rows = tuple[list[str], list[list[str]]]


def list_papers(catalog: Catalog) -> Rows:
    rows = [
        [name, folder.paper.title, f"{folder.paper.venue} {folder.paper.year}", str(len(folder.targets))]
        for name, folder in catalog.papers.items()
    ]
    return ["paper", "title", "venue", "targets"], rows


def list_targets(catalog: Catalog) -> Rows:
    """Every target: published cells, and runs that are scored for it."""
    rows = [
        [name, target.paper, target.number, str(len(target.published)), str(len(catalog.runs(target, scored=True)))]
        for name, target in catalog.targets.items()
    ]
    return ["target", "paper", "number", "published cells", "scored runs"], rows


def list_runs(catalog: Catalog) -> Rows:
    """Every run, and the targets that share it."""
    users: dict[str, list[str]] = {}
    for target in catalog.targets.values():
        for run in catalog.runs(target):
            users.setdefault(run, []).append(target.target)
    return ["run", "targets"], [[run, ", ".join(targets)] for run, targets in users.items()]


def list_networks(catalog: Catalog) -> Rows:
    """Every network, with the papers whose rows run it (also where they borrow the run of another paper)."""
    used: dict[str, set[str]] = {name: set() for name in available_models()}
    for target in catalog.targets.values():
        for run in catalog.runs(target):
            used[catalog.run(run).model.name].add(target.paper)
    return ["network", "papers"], [[name, ", ".join(sorted(used[name]))] for name in sorted(used)]


def list_datasets(catalog: Catalog) -> Rows:
    """Every dataset, with its size and how it comes here."""
    rows = []
    for name in available_datasets():
        facts = get_dataset(name)
        cases = "/".join(str(count) for count in facts.split_counts.values()) or "-"
        comes = "by itself" if facts.archives else "by hand"
        rows.append([name, facts.title, facts.modality, str(len(facts.label_names)), cases, comes, facts.licence])
    return ["dataset", "title", "modality", "classes", "train/val/test", "fetched", "licence"], rows


def list_conventions(catalog: Catalog) -> Rows:
    """What each scoring convention makes of empty masks, and the papers whose protocols name it."""
    used: dict[str, set[str]] = {}
    for name, folder in catalog.papers.items():
        for protocol in folder.protocols.values():
            used.setdefault(protocol.convention, set()).add(name)
    rows = []
    for name, convention in load_conventions().items():
        rule = next(iter(convention.rules.values()))
        empty = "/".join(str(rule.model_dump()[situation]) for situation in SITUATIONS)
        metrics, spacing = ", ".join(convention.rules), str(convention.spacing)
        averaging = convention.averaging.replace("_", " ")
        rows.append([name, metrics, empty, averaging, spacing, ", ".join(sorted(used.get(name, ())))])
    return ["convention", "metrics", "both empty/false positive/missed/no file", "mean over", "spacing", "papers"], rows


def list_weights(catalog: Catalog, folder: Path = WEIGHTS) -> Rows:
    """Released weights: the file's size where published or present, and whether it lies in `folder`."""
    rows = []
    for source in weight_sources().values():
        path = folder / source.file
        bytes_ = source.bytes or (path.stat().st_size if path.is_file() else None)
        size = "unknown" if bytes_ is None else f"{bytes_ / 1e6:,.0f} MB"
        checksum = "published" if source.sha256 else "first sight"
        present = "yes" if path.is_file() else "no"
        rows.append([source.name, source.network, source.file, size, checksum, source.licence, present])
    return ["weights", "network", "file", "size", "checksum", "licence", "present"], rows


KINDS: dict[str, Callable[..., Rows]] = {
    "papers": list_papers,
    "targets": list_targets,
    "runs": list_runs,
    "networks": list_networks,
    "datasets": list_datasets,
    "conventions": list_conventions,
    "weights": list_weights,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", choices=sorted(KINDS), help="default: all of them")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of released weights (default: weights)")
    add_catalog_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    catalog = catalog_of(arguments)
    console = Console(width=None if Console().is_terminal else 180)
    for kind in [arguments.kind] if arguments.kind else KINDS:
        options = {"folder": arguments.weights} if kind == "weights" else {}
        header, rows = KINDS[kind](catalog, **options)
        table = Table(*header, title=f"{kind} ({len(rows)})", title_justify="left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
