"""Microscopy: NeurIPS 2022 Cell Segmentation Challenge (Ma et al., Nature Methods 2024; Zenodo record 10719375).

Two layouts are read, and give the same cases:

- the challenge's: `Training-labeled/{images,labels}` and `Tuning/{images,labels}`, images `cell_00001.<bmp|png|tif|…>`,
  labels `cell_00001_label.tiff` with one number per cell;
- U-Mamba's copy, Dataset703_NeurIPSCell: `imagesTr/cell_00001_0000.png`, converted as below, `labelsTr/cell_00001.png`
  with the three classes already drawn, `imagesVal`, and `labelsVal-instance-mask` with the numbers.

U-Mamba tests on the 101 tuning images. Both parts count their files from 1. Test cases keep their published names, so
that anybody's predictions fit; training cases are called `train_cell_00001`.

Networks learn three classes, made from the instances as the challenge's baseline does (JunMa11/NeurIPS-CellSeg,
data/pre_process_3class.py): 1 interior, 2 boundary. Predictions are scored against the instances themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmark.datasets.base import Case, Dataset, Fault
from benchmark.datasets.nnunet_raw import CHANNEL
from benchmark.errors import InputError
from benchmark.images.files import ITK, PICTURES, TIFF, ending_of, images_in, stem_of, unread_in
from benchmark.images.pictures import read_picture

PARTS = {"train": "Training-labeled", "test": "Tuning"}
CLASSES_DRAWN = "labelsTr"  # the one folder of labels that holds classes, not numbers of cells
CONVERTED = {"train": ("imagesTr", CLASSES_DRAWN), "test": ("imagesVal", "labelsVal-instance-mask")}
LABEL_SUFFIX = "_label"  # of the challenge's label files
PREFIX = {"train": "train_", "test": ""}
INTERIOR, BOUNDARY = 1, 2
SMALLEST_INTERIOR = 16  # pixels
CROSS = ndimage.generate_binary_structure(2, 1)


class NeuripsCellSeg(Dataset):
    """The challenge's layout and U-Mamba's; any other set of instance masks may come in either."""

    def find_cases(self, root: Path) -> list[Case]:
        """Images of both parts. A part may lie one folder deeper, as the published archives unpack.

        Raises:
            InputError: a part is missing.
        """
        return sorted(
            (case for part, folders in _part_folders(root).items() for case in _cases_of(part, *folders)),
            key=lambda case: case.id,
        )

    def read_file(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """The image as three channels [H, W, 3]."""
        return three_channels(read_picture(path)), np.eye(4)

    def load_image(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [3, H, W]: each channel stretched between the percentiles 1 and 99 of its values other than 0, as the
        baseline converts every image. U-Mamba's copies have been through that and stay as they are."""
        channels = np.moveaxis(three_channels(read_picture(case.images[0])), -1, 0)
        if is_converted(case.images[0]):
            return channels, np.eye(4)
        return np.stack([stretch(channel) for channel in channels]), np.eye(4)

    def read_labels(self, case: Case) -> tuple[np.ndarray, np.ndarray, int]:
        """Interior and boundary of every cell, uint8 [H, W]: as drawn, or made from the instances.

        Raises:
            InputError: no label file, or a value that is no class or no number of a cell.
        """
        reference = self.read_reference(case)
        if reference is not None:
            return three_classes(reference[0]), reference[1], 0
        classes, affine = self.read_label_file(case.labels[0])
        if classes.max(initial=0) > BOUNDARY:
            raise InputError("not the three classes", where=case.labels[0], expected="0 to 2", found=classes.max())
        return classes.astype(np.uint8), affine, 0

    def read_reference(self, case: Case) -> tuple[np.ndarray, np.ndarray] | None:
        """The instances, uint16 [H, W]: what predictions are scored against. None where only classes are drawn.

        Raises:
            InputError: no label file, or more instances than uint16 can number.
        """
        if not case.labels:
            raise InputError(
                "the case has no label file", where=case.images[0], expected=f"{case.images[0].stem}_label.tiff"
            )
        if case.labels[0].parent.name == CLASSES_DRAWN:
            return None
        instances, affine = self.read_label_file(case.labels[0])
        if instances.max(initial=0) >= 2**16:
            raise InputError("not instance numbers", where=case.labels[0], expected="0 to 65535", found=instances.max())
        return instances.astype(np.uint16), affine

    def allowed_values(self, label_file: Path) -> range:
        return range(BOUNDARY + 1) if label_file.parent.name == CLASSES_DRAWN else range(2**16)

    def find_layout_faults(self, root: Path, cases: Sequence[Case]) -> Iterator[Fault]:
        """Label files without an image, a second image or label of one name, formats that are not read."""
        known = {path for case in cases for path in (*case.images, *case.labels)}
        for images, labels in _part_folders(root).values():
            names = {_name(path) for path in images_in(images, PICTURES)}
            for path in sorted(set(images_in(labels, PICTURES)) - known):
                name = _name(path)
                if name in names:
                    yield Fault(name, str(path), "several labels of one name", "one", path.name)
                else:
                    yield Fault(name, str(path), "label without an image", "an image", "none")
            for path in sorted(set(images_in(images, PICTURES)) - known):
                yield Fault(_name(path), str(path), "several images of one name", "one", path.name)
            for path in (path for folder in (images, labels) for path in (*images_in(folder, ITK), *unread_in(folder))):
                yield Fault(path.stem, str(path), "format is not read", ", ".join(PICTURES), path.name)


def is_converted(image: Path) -> bool:
    """Whether an image is one of U-Mamba's copies."""
    return image.parent.name in {images for images, _ in CONVERTED.values()}


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


def _part_folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """Folders of images and labels by split."""
    if (root / CONVERTED["train"][0]).is_dir():
        folders = {part: (root / images, root / labels) for part, (images, labels) in CONVERTED.items()}
    else:
        folders = {}
        for part, name in PARTS.items():
            folder = root / name / name if (root / name / name).is_dir() else root / name  # as the archives unpack
            folders[part] = folder / "images", folder / "labels"
    for images, _ in folders.values():
        if not images.is_dir():
            raise InputError(
                f"this is not the layout of NeurIPS CellSeg: no {images.relative_to(root)}",
                where=root,
                expected="Training-labeled/{images,labels} and Tuning/{images,labels}; or U-Mamba's imagesTr, "
                "labelsTr, imagesVal, labelsVal-instance-mask",
                remedy="give the folder that holds both parts",
            )
    return folders


def _name(path: Path) -> str:
    """`cell_00001.tif`, U-Mamba's image `cell_00001_0000.png`, the challenge's label `cell_00001_label.tiff` →
    `cell_00001`."""
    stem = stem_of(path)
    channel = CHANNEL.fullmatch(stem) if is_converted(path) else None
    return channel["case"] if channel else stem.removesuffix(LABEL_SUFFIX)


def _cases_of(part: str, images: Path, labels: Path) -> Iterator[Case]:
    label_files: dict[str, list[Path]] = {}
    for path in images_in(labels, PICTURES):
        if labels.name != "labels" or stem_of(path).endswith(LABEL_SUFFIX):
            label_files.setdefault(_name(path), []).append(path)
    for name, image in {_name(path): path for path in reversed(images_in(images, PICTURES))}.items():
        case, found = PREFIX[part] + name, label_files.get(name, [])
        found = [path for path in found if ending_of(path) in TIFF] or found  # a preview may lie beside the label
        yield Case(id=case, patient=case, images=(image,), labels=tuple(found[:1]), split=part)


dataset = NeuripsCellSeg.from_yaml(__file__)
