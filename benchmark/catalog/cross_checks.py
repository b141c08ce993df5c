"""Every name that stands in a paper's files is the name of something, in another file or in a registry."""

from __future__ import annotations

from collections.abc import Iterable

from benchmark.catalog.loading import PaperFolder
from benchmark.catalog.reading import pick
from benchmark.datasets import available_datasets
from benchmark.models.registry import available_models
from benchmark.scoring.conventions import load_conventions
from benchmark.settings import ELSEWHERE
from benchmark.settings.folds import whole_of


def check_names(folder: PaperFolder, targets: Iterable[str]) -> None:
    """Hold the files of one paper to the registries and to each other.

    Args:
        targets: names of the targets of all papers, which a ledger may speak of.

    Raises:
        InputError: a network, dataset, convention, metric or what a ledger's entry concerns is not there.
    """
    _check_modules(folder)
    _check_ledger(folder, targets)
    _check_scoring(folder)


def _check_modules(folder: PaperFolder) -> None:
    """Every network and every dataset that is named has its module."""
    networks, datasets = dict.fromkeys([*available_models(), ELSEWHERE]), dict.fromkeys(available_datasets())
    for name, model in folder.models.items():
        pick(networks, model.spec.name, "network", f"{folder.folder / 'models.yaml'}: {name}")
    for name, protocol in folder.protocols.items():
        pick(datasets, whole_of(protocol.dataset), "dataset", f"{folder.folder / 'protocols.yaml'}: {name}")


def _check_ledger(folder: PaperFolder, targets: Iterable[str]) -> None:
    """Every entry concerns something, under a name that exists."""
    networks = {model.spec.name for model in folder.models.values()}
    known = dict.fromkeys([*targets, *folder.protocols, *folder.models, *networks])
    for entry in folder.ledger:
        for name in entry.concerns or ("",):
            where = f"{folder.folder / 'ledger.yaml'}: {entry.id}"
            pick(known, name, "target, protocol or network in `concerns`", where)


def _check_scoring(folder: PaperFolder) -> None:
    """Every convention and metric that is named exists."""
    conventions = load_conventions()
    metrics: dict[str, bool] = {metric: True for convention in conventions.values() for metric in convention.rules}
    for name, protocol in folder.protocols.items():
        pick(conventions, protocol.convention, "convention", f"{folder.folder / 'protocols.yaml'}: {name}")
    for target in folder.targets.values():
        for name, column in target.columns.items():
            where = f"{folder.folder / target.target}.yaml: columns: {name}"
            if column.convention:
                pick(conventions, column.convention, "convention", where)
            if column.measure == "score":
                pick(metrics, str(column.metric).split("@")[0], "metric", where)
