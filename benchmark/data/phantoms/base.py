"""What every phantom has: subjects of each split, planned from a seed, and a folder that is either whole or absent."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.errors import InputError
from benchmark.files import make_folder, read_json, sync_directory, write_json
from benchmark.progress import track
from benchmark.workers import map_processes

MARKER = "phantom.json"
SPACINGS_MM = (1.0, 20.0)


@dataclass(frozen=True)
class Subject:
    """One scan, patient or picture to generate.

    Attributes:
        id: as the data set names it.
        split: "train", "val" or "test".
        seed: of everything drawn for it.
        kind: what it differs in by plan, e.g. "cropped", "coronal", "fluorescence"; empty for none.
    """

    id: str
    split: str
    seed: int
    kind: str = ""

    def generator(self) -> np.random.Generator:
        """A new stream of this subject's random numbers: the same subject always draws the same."""
        return np.random.default_rng(self.seed)


@dataclass(frozen=True, kw_only=True)
class Phantom(ABC):
    """A generator of a data set in its published layout.

    Attributes:
        name: of the data set.
        subjects: default number of subjects.
        smallest: with fewer, a split would be empty or lack a structure.
        spacing: default side of a voxel in mm, in the plane where slices are thicker; None for pictures.
    """

    version: ClassVar[int]  # raise when the same settings would give other files

    name: str
    subjects: int
    smallest: int = 3
    spacing: float | None = None

    def voxel_side(self, spacing: float | None) -> float:
        """In mm: `spacing`, or the default where it is None.

        Raises:
            ValueError: pictures have neither.
        """
        side = spacing or self.spacing
        if side is None:
            raise ValueError(f"{self.name} consists of pictures")
        return side

    @abstractmethod
    def plan(self, subjects: int, seed: int = 0) -> list[Subject]:
        """So many subjects, at least one of each split that the data set has."""

    @abstractmethod
    def write_subject(self, root: Path, spacing: float | None, subject: Subject) -> None:
        """Write the files of one subject."""

    def write_tables(self, root: Path, plan: Sequence[Subject]) -> None:
        """Write what is about all subjects, such as dataset.json."""
        return


def count_splits(subjects: int, *, with_validation: bool) -> tuple[int, int, int]:
    """(train, val, test): two sevenths test, one seventh validation where there is one, the rest training."""
    test = max(1, round(subjects * 2 / 7))
    val = max(1, round(subjects / 7)) if with_validation else 0
    return subjects - test - val, val, test


def seed_of(seed: int, number: int) -> int:
    """Seed of subject `number` of a phantom."""
    return seed * 10007 + number


def write(
    phantom: Phantom,
    root: Path,
    *,
    subjects: int | None = None,
    spacing: float | None = None,
    seed: int = 0,
    processes: int | None = None,
) -> dict[str, Any]:
    """Write a phantom into `root`, unless it is there already with the same settings; returns the settings.

    A folder with other settings is replaced. Nothing is at `root` before everything is.

    Raises:
        InputError: too few or too many subjects, voxels that are not between 1 and 20 mm, or a spacing of pictures.
    """
    subjects = phantom.subjects if subjects is None else subjects
    _check(phantom, subjects, spacing)
    spacing = phantom.spacing if spacing is None else spacing
    settings = settings_of(phantom, subjects=subjects, spacing=spacing, seed=seed)
    if (root / MARKER).exists() and read_json(root / MARKER) == settings:
        return settings
    temporary = root.with_name(f".writing-{root.name}")
    for folder in (root, temporary):
        shutil.rmtree(folder, ignore_errors=True)
    make_folder(temporary)
    plan = phantom.plan(subjects, seed)
    work = map_processes(partial(phantom.write_subject, temporary, spacing), plan, processes=processes)
    for _ in track(work, total=len(plan), description=f"generating the phantom of {phantom.name}"):
        pass
    phantom.write_tables(temporary, plan)
    write_json(temporary / MARKER, settings)
    temporary.rename(root)
    sync_directory(root.parent)
    return settings


def settings_of(
    phantom: Phantom, *, subjects: int | None = None, spacing: float | None = None, seed: int = 0
) -> dict[str, Any]:
    """What decides the files of a phantom; None: as it is by itself."""
    return {
        "version": phantom.version,
        "subjects": phantom.subjects if subjects is None else subjects,
        "spacing": phantom.spacing if spacing is None else spacing,
        "seed": seed,
    }


def _check(phantom: Phantom, subjects: int, spacing: float | None) -> None:
    problem = f"there is no such phantom of {phantom.name}"
    if subjects < phantom.smallest:
        raise InputError(problem, expected=f"at least {phantom.smallest} subjects", found=subjects)
    most = len(phantom.plan(subjects))
    if most < subjects:
        raise InputError(problem, expected=f"at most {most} subjects, in these shares of the splits", found=subjects)
    if spacing is not None and phantom.spacing is None:
        raise InputError(problem, expected="no spacing: it consists of pictures", found=f"{spacing} mm")
    if spacing is not None and not SPACINGS_MM[0] <= spacing <= SPACINGS_MM[1]:
        raise InputError(problem, expected=f"voxels of {SPACINGS_MM[0]:g} to {SPACINGS_MM[1]:g} mm", found=spacing)
