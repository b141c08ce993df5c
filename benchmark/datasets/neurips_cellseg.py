"""Microscopy: NeurIPS 2022 Cell Segmentation Challenge (Ma et al., Nature Methods 2024; Zenodo record 10719375).

Layout: `Training-labeled/{images,labels}` and `Tuning/{images,labels}`, images `cell_00001.<bmp|png|tif|…>`, labels
`cell_00001_label.tiff` with one number per cell. U-Mamba tests on the 101 tuning images.

Both parts count their files from 1. Test cases keep their published names, so that anybody's predictions fit; training
cases are called `train_cell_00001`.

Networks learn three classes, made from the instances as the challenge's baseline does (JunMa11/NeurIPS-CellSeg,
data/pre_process_3class.py): 1 interior, 2 boundary. Predictions are scored against the instances themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmark.datasets.base import Case, Dataset, Fault
from benchmark.errors import InputError
from benchmark.images.files import PICTURES, TIFF, ending_of, images_in, stem_of, unread_in
from benchmark.images.pictures import read_picture

PARTS = {"train": "Training-labeled", "test": "Tuning"}
PREFIX = {"train": "train_", "test": ""}
INTERIOR, BOUNDARY = 1, 2
SMALLEST_INTERIOR = 16  # pixels
CROSS = ndimage.generate_binary_structure(2, 1)


class NeuripsCellSeg(Dataset):
    """The challenge's layout; any other set of instance masks may come in the same."""

    def find_cases(self, root: Path) -> list[Case]:
        """Images of both parts. A part may lie one folder deeper, as the published archives unpack.

        Raises:
            InputError: a part is missing.
        """
        return sorted(
            (case for part, name in PARTS.items() for case in _cases_of(_part_folder(root, name), part)),
            key=lambda case: case.id,
        )

    def read_file(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """The image as three channels [H, W, 3]."""
        return three_channels(read_picture(path)), np.eye(4)

    def load_image(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [3, H, W]: each channel stretched between the percentiles 1 and 99 of its values other than 0, as the
        baseline converts every image and U-Mamba's copies of them have it."""
        channels = np.moveaxis(three_channels(read_picture(case.images[0])), -1, 0)
        return np.stack([stretch(channel) for channel in channels]), np.eye(4)

    def read_labels(self, case: Case) -> tuple[np.ndarray, np.ndarray, int]:
        """Interior and boundary of every cell, uint8 [H, W]."""
        instances, affine = self.read_reference(case)
        return three_classes(instances), affine, 0

    def read_reference(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """The instances, uint16 [H, W]: what predictions are scored against.

        Raises:
            InputError: no label file, or more instances than uint16 can number.
        """
        if not case.labels:
            raise InputError(
                "the case has no label file", where=case.images[0], expected=f"{case.images[0].stem}_label.tiff"
            )
        instances, affine = self.read_label_file(case.labels[0])
        if instances.max(initial=0) >= 2**16:
            raise InputError("not instance numbers", where=case.labels[0], expected="0 to 65535", found=instances.max())
        return instances.astype(np.uint16), affine

    def allowed_values(self, label_file: Path) -> range:
        return range(2**16)

    def find_layout_faults(self, root: Path, cases: Sequence[Case]) -> Iterator[Fault]:
        """Label files without an image, a second image or label of one name, formats that are not read."""
        known = {path for case in cases for path in (*case.images, *case.labels)}
        for folder in (_part_folder(root, name) for name in PARTS.values()):
            images = {stem_of(path) for path in images_in(folder / "images", PICTURES)}
            for path in sorted(set(images_in(folder / "labels", PICTURES)) - known):
                name = stem_of(path).removesuffix("_label")
                if name in images:
                    yield Fault(name, str(path), "several labels of one name", f"{name}_label.tiff alone", path.name)
                else:
                    yield Fault(name, str(path), "label without an image", "an image", "none")
            for path in sorted(set(images_in(folder / "images", PICTURES)) - known):
                yield Fault(path.stem, str(path), "several images of one name", "one", path.name)
            for path in (path for name in ("images", "labels") for path in unread_in(folder / name)):
                yield Fault(path.stem, str(path), "format is not read", ", ".join(PICTURES), path.name)


def three_channels(array: np.ndarray) -> np.ndarray:
    """[H, W], or [H, W, 1 to 3], as [H, W, 3]: grey is repeated, a missing third channel is 0."""
    if array.ndim == 2 or array.shape[2] == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return np.pad(array, [(0, 0), (0, 0), (0, 3 - array.shape[2])])


def stretch(channel: np.ndarray) -> np.ndarray:
    """[H, W] to uint8: percentiles 1 and 99 of the values other than 0 become 0 and 255; a flat channel is kept."""
    values = channel[channel != 0]
    if not values.size:
        return np.zeros(channel.shape, np.uint8)
    low, high = np.percentile(values, [1, 99])
    if high - low <= 0.001:
        return channel.astype(np.uint8)
    return (np.clip((channel - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def three_classes(instances: np.ndarray) -> np.ndarray:
    """Instances [H, W] to 0 background, 1 interior, 2 boundary, by the rule of the challenge's baseline.

    Boundary: pixels of a cell with a neighbour above, below, left or right of another number, grown by one pixel to all
    four sides, also outwards. Interior: the rest of the cells; interiors of less than 16 pixels become background.
    """
    lowest, highest = (
        f(instances, footprint=CROSS, mode="nearest") for f in (ndimage.minimum_filter, ndimage.maximum_filter)
    )
    boundary = ndimage.binary_dilation((lowest != highest) & (instances > 0), CROSS)
    interior = (instances > 0) & ~boundary
    parts, number = ndimage.label(interior)
    interior &= np.bincount(parts.ravel(), minlength=number + 1)[parts] >= SMALLEST_INTERIOR
    return np.where(boundary, BOUNDARY, np.where(interior, INTERIOR, 0)).astype(np.uint8)


def _part_folder(root: Path, name: str) -> Path:
    for folder in (root / name, root / name / name):
        if (folder / "images").is_dir():
            return folder
    raise InputError(
        f"this is not the layout of NeurIPS CellSeg: no {name}/images",
        where=root,
        expected="Training-labeled/{images,labels} and Tuning/{images,labels}",
        remedy="give the folder that holds both parts",
    )


def _cases_of(folder: Path, part: str) -> Iterator[Case]:
    images = {stem_of(path): path for path in reversed(images_in(folder / "images", PICTURES))}
    labels: dict[str, list[Path]] = {}
    for path in images_in(folder / "labels", PICTURES):
        labels.setdefault(stem_of(path), []).append(path)
    for name, image in images.items():
        case, found = PREFIX[part] + name, labels.get(f"{name}_label", [])
        found = [path for path in found if ending_of(path) in TIFF] or found  # a preview may lie beside the label
        yield Case(id=case, patient=case, images=(image,), labels=tuple(found[:1]), split=part)


dataset = NeuripsCellSeg.from_yaml(__file__)
