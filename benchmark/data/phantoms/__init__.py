"""Phantoms: generated stand-ins for data sets, not patients, in each data set's own layout.

They let the whole workflow run in minutes and be tested without data. Numbers computed on them say nothing about
patients. One module per data set, named like it and found by file name; what several share is in the modules of
`SHARED`. docs/phantoms.md shows them.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from benchmark.data.phantoms.base import Phantom, Subject, settings_of, write
from benchmark.errors import InputError

__all__ = ["Phantom", "Subject", "available_phantoms", "get_phantom", "settings_of", "write"]

SHARED = {"__init__", "anatomy", "base", "pictures", "scans", "shapes", "volumes"}


def available_phantoms() -> list[str]:
    """Names of all data sets that have a phantom, sorted; no generator is imported."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in SHARED)


def get_phantom(name: str) -> Phantom:
    """The phantom of module `benchmark/data/phantoms/<name>.py`, its module-level `phantom`.

    Raises:
        InputError: there is none.
    """
    if name not in available_phantoms():
        raise InputError(
            f"there is no phantom of {name}",
            expected="one of " + ", ".join(available_phantoms()),
            remedy=f"give a folder with the data (--root), or add benchmark/data/phantoms/{name}.py",
        )
    return importlib.import_module(f"benchmark.data.phantoms.{name}").phantom
