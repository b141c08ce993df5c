"""Label maps: whole numbers on a grid, whatever they are stored as."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark.errors import InputError
from benchmark.images.files import VOLUMES, ending_of
from benchmark.images.label_names import LARGEST_LABEL
from benchmark.images.nifti import Volume
from benchmark.images.pictures import read_picture_labels
from benchmark.images.volumes import read_volume

LARGEST_ROUNDING = 0.1
FLOAT32_STEP = 1e-6  # relative


def read_label_file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(labels [*spatial] in an unsigned type, affine [4, 4] in mm; pictures: identity) of a volume or picture.

    Raises:
        InputError: unreadable, lossy, several channels, or values that are not whole numbers from 0 on.
    """
    if ending_of(path) in VOLUMES:
        volume = read_volume(path)
        return as_labels(volume.array, path, tolerance=rounding_of(volume)), volume.grid.affine
    return as_labels(read_picture_labels(path), path), np.eye(4)


def rounding_of(volume: Volume) -> float:
    """How far from a whole number a label may lie: half a step where labels were stored as scaled integers.

    nibabel stores floats in an integer type by a slope, so that 3 comes back as 3.0001. Not scaled: nothing is lost.
    """
    grid = volume.grid
    return min(abs(grid.slope) / 2, LARGEST_ROUNDING) if grid.is_scaled and grid.dtype.kind in "iu" else 0.0


def as_labels(array: np.ndarray, path: Path, *, tolerance: float = 0.0) -> np.ndarray:
    """The smallest unsigned type that holds the labels, in the memory order of `array`.

    Args:
        tolerance: how far from a whole number values may lie.

    Raises:
        InputError: values that are not whole numbers from 0 to 2²².
    """
    smallest, largest = array.min(), array.max()
    whole, example = array.dtype.kind in "bui", ""
    if not whole and np.isfinite(smallest) and np.isfinite(largest):
        nearest = np.rint(array)
        odd = np.abs(array - nearest) > tolerance + (FLOAT32_STEP * np.abs(nearest) if tolerance else 0)
        whole = not odd.any()
        example = "" if whole else f", such as {array[odd][0]:g}"
        smallest, largest, array = np.rint(smallest), np.rint(largest), nearest
    if not whole or smallest < 0 or largest > LARGEST_LABEL:
        raise InputError(
            f"A label map holds integers from 0 to {LARGEST_LABEL}",
            where=path,
            expected="whole numbers",
            found=f"{array.dtype} values from {smallest} to {largest}{example}",
            remedy="pass label maps, not probabilities or images; renumber larger values",
        )
    return array.astype(np.min_scalar_type(int(largest)), copy=False)
