"""The raw layout of nnU-Net v2, in which U-Mamba publishes its data sets: volumes (NIfTI, MetaImage, NRRD) or pictures.

`imagesTr/<case>_<channel>.<ending>`, `labelsTr/<case>.<ending>`, and `imagesTs`, `labelsTs` for the test cases. A
colour picture is one file `<case>_0000.png` with its channels inside. A label called `ignore` in dataset.json is that
of voxels that nobody labelled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmark.datasets.base import IGNORED, Case, Dataset, Fault
from benchmark.datasets.label_order import order_faults
from benchmark.errors import InputError
from benchmark.images.files import IMAGES, VOLUMES, ending_of, images_in, stem_of, unread_in
from benchmark.images.label_names import LabelNames, read_labels_file
from benchmark.images.pictures import read_picture

PARTS = {"train": ("imagesTr", "labelsTr"), "test": ("imagesTs", "labelsTs")}
CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
FIRST_CHANNEL = "_0000"


class NnUnetRaw(Dataset):
    """A data set in nnU-Net's raw layout.

    The layout does not say who is who: a case is its own patient, unless its name tells (`patient001_frame01`).
    """

    def find_cases(self, root: Path) -> list[Case]:
        """Cases of imagesTr and imagesTs.

        Raises:
            InputError: there is no imagesTr, it holds formats alone that are not read, or a case is in both parts.
        """
        if not (root / "imagesTr").is_dir():
            raise InputError(
                f"this is not {self.title}: no imagesTr",
                where=root,
                expected="imagesTr, labelsTr, imagesTs, labelsTs (nnU-Net's raw layout)",
                remedy="give the folder Dataset7xx_… that the archive was unpacked into",
            )
        unread = unread_in(root / "imagesTr")
        if unread and not images_in(root / "imagesTr"):
            raise InputError(
                "no image in a format that is read",
                where=root / "imagesTr",
                expected=", ".join(IMAGES),
                found=f"{len(unread)} files such as {unread[0].name}",
                remedy="convert them to one of these, e.g. with SimpleITK",
            )
        cases = [case for part in PARTS for case in self._cases_of(root, part)]
        twice = sorted({case.id for case in cases if sum(other.id == case.id for other in cases) > 1})
        if twice:
            raise InputError("a case is in training and test", where=root, found=twice[:5], expected="one of them")
        return sorted(cases, key=lambda case: case.id)

    def _cases_of(self, root: Path, part: str) -> Iterator[Case]:
        images, labels = (root / name for name in PARTS[part])
        by_case = _by_stem(labels)
        ignore = _label_names(root).ignore
        for name, files in _by_case(images, set(by_case)).items():
            yield Case(
                id=name,
                patient=self.patient_by_name(name),
                images=tuple(files),
                labels=tuple(by_case.get(name, ())),
                split=part,
                ignore=ignore,
            )

    def load_image(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        if ending_of(case.images[0]) in VOLUMES:
            return super().load_image(case)
        pictures = [read_picture(path) for path in case.images]
        if len({picture.shape for picture in pictures}) > 1:
            raise InputError("channels differ in shape", where=case.images[0], found=[p.shape for p in pictures])
        whole = np.stack(pictures) if len(pictures) > 1 or pictures[0].ndim == 2 else np.moveaxis(pictures[0], -1, 0)
        return whole, np.eye(4)

    def read_labels(self, case: Case) -> tuple[np.ndarray, np.ndarray, int]:
        """The label file of the case, whose values are the class numbers; the ignore label becomes `IGNORED`.

        Raises:
            InputError: no label file or several, or a value that is no class.
        """
        if len(case.labels) != 1:
            raise InputError(
                "the case has several label files" if case.labels else "the case has no label file",
                where=case.images[0],
                expected="one",
                found=[path.name for path in case.labels],
            )
        labels, affine = self.read_label_file(case.labels[0])
        ignored = labels == (-1 if case.ignore is None else case.ignore)
        largest = int(labels.max(initial=0, where=~ignored))
        if largest > len(self.label_names):
            raise InputError(
                "unknown label value",
                where=case.labels[0],
                expected=f"0 to {len(self.label_names)}",
                found=f"up to {largest}",
            )
        return np.where(ignored, IGNORED, labels).astype(np.uint8), affine, 0

    def find_layout_faults(self, root: Path, cases: Sequence[Case]) -> Iterator[Fault]:
        """Label files without an image, two files of one name, formats that are not read, and a dataset.json that
        cannot be read or numbers our structures otherwise."""
        known = {path for case in cases for path in case.labels}
        for images, labels in PARTS.values():
            for path in images_in(root / labels):
                if path not in known:
                    yield Fault(stem_of(path), str(path), "label without an image", "an image", "none")
            for folder in (root / images, root / labels):
                for name, files in _by_stem(folder).items():
                    for path in files[1:]:
                        yield Fault(name, str(path), "several files of one name", files[0].name, path.name)
                for path in unread_in(folder):
                    yield Fault(stem_of(path), str(path), "format is not read", ", ".join(IMAGES), path.name)
        yield from order_faults(root / "dataset.json", self.class_numbers)


def _label_names(root: Path) -> LabelNames:
    """What dataset.json calls the labels; nothing where there is none, or none that can be read (`verify` says so)."""
    path = root / "dataset.json"
    try:
        return read_labels_file(path) if path.is_file() else LabelNames()
    except InputError:
        return LabelNames()


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for path in images_in(folder):
        files.setdefault(stem_of(path), []).append(path)
    return files


def _by_case(folder: Path, labels: set[str]) -> dict[str, list[Path]]:
    """Image files by case. `amos_0507.nii.gz` may be a case (AMOS22's own names) or channel 507 of one: it is a channel
    where there is a label of the shorter name, or, without any label, a first channel."""
    stems = _by_stem(folder)
    cases: dict[str, list[Path]] = {}
    for stem, files in stems.items():
        match = CHANNEL.fullmatch(stem)
        case = match["case"] if match else stem
        is_channel = case in labels or (stem not in labels and case + FIRST_CHANNEL in stems)
        cases.setdefault(case if is_channel else stem, []).extend(files)
    return cases
