"""Data sets: one module each, with a yaml of facts beside it. Found by file name, imported when asked for."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

from benchmark.datasets.base import Case, Dataset, Fault
from benchmark.datasets.facts import Archive
from benchmark.errors import InputError, did_you_mean
from benchmark.own import load_module, own_files, refuse_taken
from benchmark.settings.folds import fold_of, whole_of

__all__ = ["Archive", "Case", "Dataset", "Fault", "available_datasets", "get_dataset"]

NOT_DATASETS = {
    "__init__", "base", "facts", "filed_splits", "label_order", "nifti", "nnunet_raw", "own_nnunet", "volumes",
    "amos22",
}  # fmt: skip


def available_datasets() -> list[str]:
    """Names of all data sets, those of one's own among them, sorted; none is imported."""
    ours = [path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NOT_DATASETS]
    own = own_files("datasets", ".yaml")
    refuse_taken("datasets", own, ours)
    return sorted([*ours, *own])


def get_dataset(name: str) -> Dataset:
    """The module-level `dataset` of `benchmark/datasets/<name>.py`, or of a file of one's own.

    A yaml of one's own without a module is a data set in nnU-Net's raw layout. `<name>.fold<k>` is fold k of one.

    Raises:
        InputError: there is no such data set, or it has no such fold.
    """
    if (fold := fold_of(name)) is not None:
        return get_dataset(whole_of(name)).of_fold(fold)
    if name not in available_datasets():
        raise InputError(
            f"unknown data set {name!r}{did_you_mean(name, available_datasets())}",
            expected="one of " + ", ".join(available_datasets()),
            remedy=f"add benchmark/datasets/{name}.py and {name}.yaml, or correct the name",
        )
    facts = own_files("datasets", ".yaml").get(name)
    if facts is None:
        return importlib.import_module(f"benchmark.datasets.{name}").dataset
    module = facts.with_suffix(".py")
    return load_module(module).dataset if module.is_file() else _own_nnunet(facts)


@cache
def _own_nnunet(facts: Path) -> Dataset:
    from benchmark.datasets.own_nnunet import OwnNnUnet

    return OwnNnUnet.from_yaml(str(facts))
