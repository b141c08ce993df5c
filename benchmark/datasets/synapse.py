"""Synapse: eight organs of BTCV's 30 CTs, with the lists and numbers of TransUNet (Beckschen/TransUNet @02ef001).

Two layouts. The raw release is BTCV's. TransUNet's own files are slices for training,
`train_npz/case0005_slice000.npz`, and whole volumes for testing, `test_vol_h5/case0001.npy.h5`, each with `image`
[H, W] or [slices, H, W] in a window of HU mapped to [0, 1], and `label` in the numbers of our classes. A `.h5` is read
where h5py is installed, which this project does not need otherwise; the same arrays are taken from a `.npz`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark.datasets.base import Case, Fault
from benchmark.datasets.btcv import Scans
from benchmark.datasets.volumes import (
    Files,
    cases_in_no_list,
    files_by_case,
    first_folder,
    second_files,
)
from benchmark.errors import InputError
from benchmark.images.files import NIFTI, decoding, ending_of
from benchmark.images.labels import as_labels

SLICES, VOLUMES = "train_npz", "test_vol_h5"
SLICE = re.compile(r"(?P<case>case\d{4})_slice\d{3}\.npz")
VOLUME = re.compile(r"(?P<case>case\d{4})(\.npy)?\.(h5|npz)")
CASES_LOOKED_AT = 4  # for the label order: reading every slice for it would double the time of `verify`
STORED_LIMITS = (-0.5, 1.5)  # [0, 1], with what a spline may overshoot in files that were resized


@dataclass(frozen=True)
class Synapse(Scans):
    """The raw release, or TransUNet's files.

    Attributes:
        stored_window: HU that are 0 and 1 in TransUNet's files.
    """

    case_name: ClassVar = "case{number}"

    stored_window: Sequence[float] = (0, 1)

    def find_cases(self, root: Path) -> list[Case]:
        """Cases of either layout.

        Raises:
            InputError: neither layout, or a case both as slices and as a volume.
        """
        folder = _stored_folder(root)
        if folder is None:
            return super().find_cases(root)
        slices, volumes = _stored_files(folder)
        both = sorted(set(slices) & set(volumes))
        if both:
            raise InputError("a case is in training and test", where=folder, found=both[:5], expected="one of them")
        return [
            Case(case, self.patient_of(case), tuple(files), tuple(files), self.part_of(case, files[0]))
            for case, files in sorted({**slices, **{case: files[:1] for case, files in volumes.items()}}.items())
        ]

    def read_file(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """A volume [H, W, slices] in HU; of a file of one slice, [H, W, 1]."""
        if _is_nifti(path):
            return super().read_file(path)
        low, high = self.stored_window
        image = read_stored(path, "image").astype(np.float32)
        if ((image < STORED_LIMITS[0]) | (image > STORED_LIMITS[1])).any():
            raise InputError(
                "the image is not mapped to [0, 1]",
                where=path,
                expected=f"0 for {low:g} HU to 1 for {high:g} HU",
                found=f"{image.min():g} to {image.max():g}",
                remedy="give TransUNet's files as they are, or the raw release",
            )
        return image * np.float32(high - low) + np.float32(low), np.eye(4)

    def read_label_file(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        return super().read_label_file(path) if _is_nifti(path) else (_stored_labels(path), np.eye(4))

    def load_image(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """[1, H, W, slices] in HU; spacing and axes of TransUNet's files are unknown, so that their affine is the
        identity."""
        if _is_nifti(case.images[0]):
            return super().load_image(case)
        return _joined([self.read_file(path)[0] for path in case.images], case)[None], np.eye(4)

    def read_labels(self, case: Case) -> tuple[np.ndarray, np.ndarray, int]:
        if not case.labels or _is_nifti(case.labels[0]):
            return super().read_labels(case)
        parts = [self.renumber(_stored_labels(path), path, {}) for path in case.labels]
        return _joined(parts, case), np.eye(4), 0

    def allowed_values(self, label_file: Path) -> Sequence[int]:
        return super().allowed_values(label_file) if _is_nifti(label_file) else range(len(self.label_names) + 1)

    def find_layout_faults(self, root: Path, cases: Sequence[Case]) -> Iterator[Fault]:
        """As of all volumes; of TransUNet's files also slices that are missing, and SAMed's label numbers."""
        folder = _stored_folder(root)
        if folder is None:
            yield from super().find_layout_faults(root, cases)
            return
        slices, volumes = _stored_files(folder)
        yield from cases_in_no_list(cases)
        yield from second_files(volumes)
        for case, files in slices.items():
            missing = next((number for number, path in enumerate(files) if int(path.stem[-3:]) != number), None)
            if missing is not None:
                yield Fault(case, str(files[missing]), "slice missing", f"slice{missing:03d}", files[missing].name)
        yield from self._label_order(folder, cases)

    def find_case_faults(self, case: Case) -> Iterator[Fault]:
        """As of all data sets; files of TransUNet's are slices, any number of them."""
        yield from super().find_case_faults(case) if _is_nifti(case.images[0]) else ()

    def _label_order(self, folder: Path, cases: Sequence[Case]) -> Iterator[Fault]:
        """SAMed's files have the right kidney where TransUNet's have the gallbladder, and the reverse."""
        gallbladder, kidney = self.class_numbers["gallbladder"], self.class_numbers["right_kidney"]
        voxels = np.zeros(2, np.int64)
        for case in cases[:CASES_LOOKED_AT]:
            for path in case.labels:
                try:
                    labels = _stored_labels(path)
                except InputError:
                    continue  # a fault of its own
                voxels += [np.count_nonzero(labels == gallbladder), np.count_nonzero(labels == kidney)]
        if voxels[0] > voxels[1]:
            yield Fault(
                "",
                str(folder),
                "another label order, probably SAMed's",
                f"{gallbladder} gallbladder, smaller than {kidney} right kidney, as TransUNet numbers them",
                f"{voxels[0]} and {voxels[1]} voxels",
            )


def read_stored(path: Path, name: str) -> np.ndarray:
    """The array `name` of one of TransUNet's files as [H, W, slices]; of a single slice [H, W, 1].

    Raises:
        InputError: missing, damaged or without that array, of another shape, or a `.h5` where h5py is absent.
    """
    with decoding(path, "a whole file with the arrays image and label"):
        array = _read_h5(path, name) if path.suffix == ".h5" else _read_npz(path, name)
    if array.ndim not in (2, 3):
        raise InputError(
            f"{name} is neither a slice nor a volume", where=path, expected="2 or 3 axes", found=array.shape
        )
    return array[..., None] if array.ndim == 2 else np.moveaxis(array, 0, -1)


def _stored_labels(path: Path) -> np.ndarray:
    return as_labels(read_stored(path, "label"), path)


def _read_npz(path: Path, name: str) -> np.ndarray:
    with np.load(path, allow_pickle=False) as arrays:
        return arrays[name]


def _read_h5(path: Path, name: str) -> np.ndarray:
    try:
        import h5py
    except ImportError:
        raise InputError(
            "a .h5 file cannot be read here: h5py is not installed",
            where=path,
            expected=f"{path.name.split('.')[0]}.npz with the arrays image and label, or h5py",
            found="no h5py",
            remedy="install h5py; or, where it is, convert with numpy.savez_compressed(NPZ, image=file['image'][:], "
            "label=file['label'][:]) and leave the .h5 out; or give the raw release",
        ) from None
    with h5py.File(path, "r") as file:
        return np.asarray(file[name])


def _is_nifti(path: Path) -> bool:
    return ending_of(path) in NIFTI


def _stored_folder(root: Path) -> Path | None:
    """The folder that holds train_npz or test_vol_h5, None for another layout."""
    parts = (f"{SLICES}/*.npz", f"{VOLUMES}/*")
    return next((folder for part in parts if (folder := first_folder(root, ("", "Synapse"), part))), None)


def _stored_files(folder: Path) -> tuple[Files, Files]:
    """Slices and volumes by case."""
    parts = [(folder / name).iterdir() if (folder / name).is_dir() else () for name in (SLICES, VOLUMES)]
    return files_by_case(parts[0], SLICE, "{case}"), files_by_case(parts[1], VOLUME, "{case}")


def _joined(parts: Sequence[np.ndarray], case: Case) -> np.ndarray:
    """Slices [H, W, 1] or one volume as [H, W, slices].

    Raises:
        InputError: slices of different sizes.
    """
    sizes = sorted({part.shape[:2] for part in parts})
    if len(sizes) > 1:
        raise InputError("the slices of a case differ in size", where=case.images[0], found=sizes, expected="one size")
    return np.concatenate(parts, axis=-1)


dataset = Synapse.from_yaml(__file__)
