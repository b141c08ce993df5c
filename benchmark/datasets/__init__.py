"""Data sets: one module each, with a yaml of facts beside it. Found by file name, imported when asked for."""

from __future__ import annotations

import importlib
from pathlib import Path

from benchmark.datasets.base import Archive, Case, Dataset, Fault
from benchmark.errors import InputError

__all__ = ["Archive", "Case", "Dataset", "Fault", "available_datasets", "get_dataset"]

NOT_DATASETS = {"__init__", "base", "label_order", "nifti", "nnunet_raw", "volumes", "amos22"}


def available_datasets() -> list[str]:
    """Names of all data sets, sorted; none is imported."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NOT_DATASETS)


def get_dataset(name: str) -> Dataset:
    """The data set of module `benchmark/datasets/<name>.py`, its module-level `dataset`.

    Raises:
        InputError: there is no such data set.
    """
    if name not in available_datasets():
        raise InputError(
            f"unknown data set {name!r}",
            expected="one of " + ", ".join(available_datasets()),
            remedy=f"add benchmark/datasets/{name}.py and {name}.yaml, or correct the name",
        )
    return importlib.import_module(f"benchmark.datasets.{name}").dataset
