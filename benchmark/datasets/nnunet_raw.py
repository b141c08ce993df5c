"""The raw layout of nnU-Net v2, in which U-Mamba publishes its data sets: NIfTI volumes or pictures.

`imagesTr/<case>_<channel>.<ending>`, `labelsTr/<case>.<ending>`, and `imagesTs`, `labelsTs` for the test cases. A
colour picture is one file `<case>_0000.png` with its channels inside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmark.datasets.base import Case, Dataset, Fault
from benchmark.datasets.nifti import read_nifti
from benchmark.datasets.pictures import SUFFIXES, read_picture
from benchmark.errors import InputError
from benchmark.files import read_json

ENDINGS = (".nii.gz", *SUFFIXES)
PARTS = {"train": ("imagesTr", "labelsTr"), "test": ("imagesTs", "labelsTs")}
CHANNEL = re.compile(r"_\d{4}$")


class NnUnetRaw(Dataset):
    """A data set in nnU-Net's raw layout. Every case is its own patient: the layout does not say who is who."""

    def find_cases(self, root: Path) -> list[Case]:
        """Cases of imagesTr and imagesTs.

        Raises:
            InputError: there is no imagesTr, or a case is in both parts.
        """
        if not (root / "imagesTr").is_dir():
            raise InputError(
                f"this is not {self.title}: no imagesTr",
                where=root,
                expected="imagesTr, labelsTr, imagesTs, labelsTs (nnU-Net's raw layout)",
                remedy="give the folder Dataset7xx_… that the archive was unpacked into",
            )
        cases = [case for part, folders in PARTS.items() for case in _cases_of(root, part, *folders)]
        twice = sorted({case.id for case in cases if sum(other.id == case.id for other in cases) > 1})
        if twice:
            raise InputError("a case is in training and test", where=root, found=twice[:5], expected="one of them")
        return sorted(cases, key=lambda case: case.id)

    def read_file(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        return (read_picture(path), np.eye(4)) if path.name.lower().endswith(SUFFIXES) else read_nifti(path)

    def load_image(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        if not case.images[0].name.lower().endswith(SUFFIXES):
            return super().load_image(case)
        pictures = [read_picture(path) for path in case.images]
        if len({picture.shape for picture in pictures}) > 1:
            raise InputError("channels differ in shape", where=case.images[0], found=[p.shape for p in pictures])
        whole = np.stack(pictures) if len(pictures) > 1 or pictures[0].ndim == 2 else np.moveaxis(pictures[0], -1, 0)
        return whole, np.eye(4)

    def read_labels(self, case: Case) -> tuple[np.ndarray, np.ndarray, int]:
        """The label file of the case, whose values are the class numbers.

        Raises:
            InputError: no label file, or a value that is no class.
        """
        if not case.labels:
            raise InputError("the case has no label file", where=case.images[0])
        labels, affine = self.read_file(case.labels[0])
        if labels.size and not 0 <= labels.min() <= labels.max() <= len(self.label_names):
            raise InputError(
                "unknown label value",
                where=case.labels[0],
                expected=f"0 to {len(self.label_names)}",
                found=f"{labels.min()} to {labels.max()}",
            )
        return labels.astype(np.uint8), affine, 0

    def find_layout_faults(self, root: Path, cases: Sequence[Case]) -> Iterator[Fault]:
        """Label files without an image, and a dataset.json that numbers our structures otherwise."""
        known = {path for case in cases for path in case.labels}
        for _, labels in PARTS.values():
            for path in sorted((root / labels).glob("*")):
                if path.name.lower().endswith(ENDINGS) and path not in known:
                    yield Fault(_stem(path), str(path), "label without an image", "an image", "none")
        yield from self.find_order_faults(root / "dataset.json")

    def find_order_faults(self, path: Path) -> Iterator[Fault]:
        """Structures of ours that a dataset.json of either version numbers otherwise; nothing where there is none."""
        numbers = {_plain(name): number for name, number in self.class_numbers.items()}
        for name, value in (read_json(path).get("labels", {}) if path.is_file() else {}).items():
            name, value = (value, name) if str(name).isdecimal() else (name, value)  # version 1 is {"1": name}
            number = numbers.get(_plain(str(name)))
            if number is not None and str(value) != str(number):
                yield Fault("", str(path), "another label order", f"{name} is {number}", f"{name} is {value}")


def _cases_of(root: Path, part: str, images: str, labels: str) -> Iterator[Case]:
    files: dict[str, list[Path]] = {}
    folder = root / images
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.lower().endswith(ENDINGS) and not path.name.startswith("."):
            files.setdefault(CHANNEL.sub("", _stem(path)), []).append(path)
    for case, channels in files.items():
        found = [path for ending in ENDINGS if (path := root / labels / f"{case}{ending}").is_file()]
        yield Case(id=case, patient=case, images=tuple(channels), labels=tuple(found[:1]), split=part)


def _stem(path: Path) -> str:
    ending = next(ending for ending in ENDINGS if path.name.lower().endswith(ending))
    return path.name[: -len(ending)]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]+", "_", name.lower()).strip("_")
