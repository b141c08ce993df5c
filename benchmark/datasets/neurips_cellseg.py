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
from benchmark.datasets.pictures import SUFFIXES, read_picture
from benchmark.errors import InputError

PARTS = {"train": "Training-labeled", "test": "Tuning"}
CLASSES_DRAWN = "labelsTr"  # the one folder of labels that holds classes, not numbers of cells
CONVERTED = {"train": ("imagesTr", CLASSES_DRAWN), "test": ("imagesVal", "labelsVal-instance-mask")}
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
        """Labels [H, W] as stored, images as three channels [H, W, 3]."""
        array = read_picture(path)
        return (array if path.parent.name.startswith("labels") else three_channels(array)), np.eye(4)

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
        classes = read_picture(case.labels[0])
        if classes.size and not 0 <= classes.min() <= classes.max() <= BOUNDARY:
            raise InputError("not the three classes", where=case.labels[0], expected="0 to 2", found=classes.max())
        return classes.astype(np.uint8), np.eye(4), 0

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
        instances = read_picture(case.labels[0])
        if instances.size and not 0 <= instances.min() <= instances.max() < 2**16:
            raise InputError("not instance numbers", where=case.labels[0], expected="0 to 65535", found=instances.max())
        return instances.astype(np.uint16), np.eye(4)

    def allowed_values(self, label_file: Path) -> range:
        return range(BOUNDARY + 1) if label_file.parent.name == CLASSES_DRAWN else range(2**16)

    def find_layout_faults(self, root: Path, cases: Sequence[Case]) -> Iterator[Fault]:
        """Label files without an image, and a second image of one name."""
        known = {path for case in cases for path in (*case.images, *case.labels)}
        for images, labels in _part_folders(root).values():
            for path in sorted(set(_pictures(labels)) - known):
                yield Fault(_name(path), str(path), "label without an image", "an image", "none")
            for path in sorted(set(_pictures(images)) - known):
                yield Fault(_name(path), str(path), "several images of one name", "one", path.name)


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


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")


def _name(path: Path) -> str:
    """`cell_00001.tif`, `cell_00001_0000.png`, `cell_00001_label.tiff` → `cell_00001`."""
    return CHANNEL.sub("", path.stem.removesuffix("_label"))


def _cases_of(part: str, images: Path, labels: Path) -> Iterator[Case]:
    label_files = {_name(path): path for path in reversed(_pictures(labels))}
    for name, image in {_name(path): path for path in reversed(_pictures(images))}.items():
        case, label = PREFIX[part] + name, label_files.get(name)
        yield Case(id=case, patient=case, images=(image,), labels=() if label is None else (label,), split=part)


dataset = NeuripsCellSeg.from_yaml(__file__)
