"""Volumes in NIfTI files with one label file each: what BTCV, Synapse, MM-WHS and ACDC have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.datasets.base import Case, Dataset, Fault, unknown_values
from benchmark.datasets.nifti import read_nifti
from benchmark.errors import InputError

Files = dict[str, list[Path]]  # by case id


@dataclass(frozen=True)
class LabelledVolumes(Dataset):
    """A case is one image file and one label file. A subclass finds them and says whose they are.

    Attributes:
        train_cases: ids that train, where the split is a list; `test_cases` has the others.
        label_values: value in a label file → class number, 0 for what becomes background; empty: they are the same.
        known_mistakes: values that occur by mistake → what is known of them, for the message.
    """

    train_cases: Sequence[str] = ()
    label_values: Mapping[int, int] = field(default_factory=dict)
    known_mistakes: Mapping[int, str] = field(default_factory=dict)

    def find_files(self, root: Path) -> tuple[Files, Files]:
        """Image files and label files under `root`; a second file of a case is left to `verify`.

        Raises:
            InputError: the folder is not in the data set's layout.
        """
        raise NotImplementedError

    def patient_of(self, case: str) -> str:
        return case

    def part_of(self, case: str, image: Path) -> str | None:
        """The split of a case: that of the lists, None where neither has it."""
        return "test" if case in self.test_cases else "train" if case in self.train_cases else None

    def attributes_of(self, case: str, image: Path) -> dict[str, Any]:
        return {}

    def find_cases(self, root: Path) -> list[Case]:
        images, labels = self.find_files(root)
        return [
            Case(
                id=case,
                patient=self.patient_of(case),
                images=(files[0],),
                labels=tuple(labels.get(case, ())[:1]),
                split=self.part_of(case, files[0]),
                attributes=self.attributes_of(case, files[0]),
            )
            for case, files in sorted(images.items())
        ]

    def read_labels(self, case: Case) -> tuple[np.ndarray, np.ndarray, int]:
        """The label file of the case in class numbers.

        Raises:
            InputError: no label file, one that is not a volume, or a value that is no label.
        """
        if not case.labels:
            raise InputError("the case has no label file", where=case.images[0])
        labels, affine = read_nifti(case.labels[0])
        if labels.ndim != self.spatial_dims:
            raise InputError(
                "the labels are not a volume", where=case.labels[0], expected="3 axes", found=f"shape {labels.shape}"
            )
        return self.renumber(labels, case.labels[0], self.label_values), affine, 0

    def renumber(self, labels: np.ndarray, path: Path, values: Mapping[int, int]) -> np.ndarray:
        """[*spatial] in label values to uint8 class numbers; without `values` they are class numbers already.

        Raises:
            InputError: a value other than 0 that is no label.
        """
        values = values or {number: number for number in self.class_numbers.values()}
        allowed = sorted({0, *values})
        unknown = unknown_values(labels, allowed)
        if unknown:
            known = [f"{value:g}: {self.known_mistakes[value]}" for value in unknown if value in self.known_mistakes]
            raise InputError(
                "unknown label value",
                where=path,
                expected=", ".join(map(str, allowed)),
                found=", ".join(f"{value:g}" for value in unknown),
                remedy="; ".join(known) or "correct the file or get it again; `benchmark verify` lists every such file",
            )
        numbers = np.zeros_like(labels, dtype=np.uint8)  # in the file's own order of voxels, as above
        for value, number in values.items():
            if number:  # class by class: a table's index would take eight bytes a voxel
                numbers[labels == value] = number
        return numbers

    def allowed_values(self, label_file: Path) -> Sequence[int]:
        return sorted({0, *self.label_values}) if self.label_values else super().allowed_values(label_file)

    def find_layout_faults(self, root: Path, cases: Sequence[Case]) -> Iterator[Fault]:
        """Labels without an image, a second file of a case, and cases that no list has."""
        images, labels = self.find_files(root)
        for case in sorted(set(labels) - set(images)):
            yield Fault(case, str(labels[case][0]), "label without an image", "an image", "none")
        yield from second_files(images)
        yield from second_files(labels)
        yield from cases_in_no_list(cases)


def second_files(files: Files) -> Iterator[Fault]:
    """Files that nobody would read, because their case has one already."""
    for case, paths in files.items():
        for path in paths[1:]:
            yield Fault(case, str(path), "second file of a case", str(paths[0]), path.name)


def cases_in_no_list(cases: Iterable[Case]) -> Iterator[Fault]:
    """Cases without a split."""
    for case in cases:
        if case.split is None:
            yield Fault(case.id, str(case.images[0]), "case in no list", "a case of the split", case.id)


def files_by_case(paths: Iterable[Path], pattern: re.Pattern[str], name: str) -> Files:
    """Files whose whole name fits `pattern`, by the case id that `name` makes of its groups, each list sorted.

    Hidden files, as macOS leaves them in archives, fit no pattern here, because none begins with a dot.
    """
    found: Files = {}
    for path in sorted(paths):
        match = pattern.fullmatch(path.name)
        if match and path.is_file():
            found.setdefault(name.format(**match.groupdict()), []).append(path)
    return found


def first_folder(root: Path, places: Iterable[str], content: str) -> Path | None:
    """The first of the folders `root / place` that holds something of the glob pattern `content`."""
    return next((root / place for place in places if any((root / place).glob(content))), None)
