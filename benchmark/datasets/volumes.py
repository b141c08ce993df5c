"""Volumes in NIfTI files with one label file each: the layout of most challenges."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.datasets.base import Case, Dataset, Fault, unknown_values
from benchmark.datasets.label_order import order_faults
from benchmark.errors import InputError
from benchmark.images.files import ITK, NIFTI, images_in, unread_in

Files = dict[str, list[Path]]  # by case id


@dataclass(frozen=True)
class LabelledVolumes(Dataset):
    """A case is one image file and one label file. A subclass says how they are called and where they lie.

    Attributes:
        image_name, label_name: whole names of the files of a case.
        case_name: id of a case, made of the groups of these names.
        other_names: whole names of files that lie among them and are left out.
        pairs: folders of images and of their label maps, relative to the root; those that exist are read.
        train_cases: ids that train, where both parts are lists; without it what neither `test_cases` nor `val_cases`
            has trains.
        label_values: value in a label file → class number, 0 for what becomes background; empty: they are the same.
        known_mistakes: values that occur by mistake → what is known of them, for the message.
    """

    image_name: ClassVar[re.Pattern[str]]
    label_name: ClassVar[re.Pattern[str]]
    case_name: ClassVar[str] = "{case}"
    other_names: ClassVar[re.Pattern[str] | None] = None
    pairs: ClassVar[tuple[tuple[str, str], ...]] = ()

    train_cases: Sequence[str] = ()
    label_values: Mapping[int, int] = field(default_factory=dict)
    known_mistakes: Mapping[float, str] = field(default_factory=dict)

    def find_files(self, root: Path) -> tuple[Files, Files]:
        """Image files and label files under `root`; a second file of a case is left to `verify`.

        Raises:
            InputError: the folder is not in the data set's layout.
        """
        if not any((root / images).is_dir() for images, _ in self.pairs):
            raise InputError(
                f"this is not {self.title}: no {self.pairs[0][0]}",
                where=root,
                expected=self.layout,
                found="no such folder" if not root.is_dir() else f"{sum(1 for _ in root.iterdir())} other entries",
                remedy="give the folder that the archive was unpacked into",
            )
        images, labels = zip(*((root / images, root / labels) for images, labels in self.pairs), strict=True)
        return self.files_of(images, self.image_name), self.files_of(labels, self.label_name)

    def files_of(self, folders: Iterable[Path], pattern: re.Pattern[str]) -> Files:
        """Files of the data set's cases in some folders, by case; of a folder that is not there, none."""
        paths = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
        found = files_by_case(paths, pattern, self.case_name)
        return {case: files for case, files in found.items() if self.has_case(case)}

    def has_case(self, case: str) -> bool:
        """Whether the case belongs to this data set; others may lie in the same folders."""
        return True

    def patient_of(self, case: str) -> str:
        return case

    def part_of(self, case: str, image: Path) -> str | None:
        """The split of a case: that of the lists, None where there is a list for each part and neither has it."""
        if self.train_cases:
            return "test" if case in self.test_cases else "train" if case in self.train_cases else None
        return self.declared_part(case)

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
        labels, affine = self.read_label_file(case.labels[0])
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
                remedy="; ".join(known) or "correct the file or get it again; `retable verify` lists every such file",
            )
        numbers = np.zeros_like(labels, dtype=np.uint8)  # in the file's own order of voxels, as above
        for value, number in values.items():
            if number:  # class by class: a table's index would take eight bytes a voxel
                numbers[labels == value] = number
        return numbers

    def allowed_values(self, label_file: Path) -> Sequence[int]:
        return sorted({0, *self.label_values}) if self.label_values else super().allowed_values(label_file)

    def find_layout_faults(self, root: Path, cases: Sequence[Case]) -> Iterator[Fault]:
        """Labels without an image, a second file of a case, cases that no list has, files of other names and formats,
        and a dataset.json that numbers our structures otherwise."""
        images, labels = self.find_files(root)
        for case in sorted(set(labels) - set(images)):
            yield Fault(case, str(labels[case][0]), "label without an image", "an image", "none")
        yield from second_files(images)
        yield from second_files(labels)
        yield from cases_in_no_list(cases)
        folders = {path.parent for files in (*images.values(), *labels.values()) for path in files}
        for folder in sorted(folders):
            yield from self._strangers(folder)
        for path in () if self.label_values else sorted({folder.parent / "dataset.json" for folder in folders}):
            yield from order_faults(path, self.class_numbers)

    def _strangers(self, folder: Path) -> Iterator[Fault]:
        """Images of a folder that nobody would read."""
        known = [pattern for pattern in (self.image_name, self.label_name, self.other_names) if pattern is not None]
        for path in images_in(folder, NIFTI):
            if not any(pattern.fullmatch(path.name) for pattern in known):
                yield Fault("", str(path), "unknown file name", self.layout, path.name)
        for path in (*images_in(folder, ITK), *unread_in(folder)):
            yield Fault("", str(path), "format is not read", ", ".join(NIFTI), path.name)


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
