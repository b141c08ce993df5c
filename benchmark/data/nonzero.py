"""What nnU-Net sees of a case before it plans or normalises: one axis order, and the box of voxels that are not 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cc3d
import numpy as np

PICTURE_SPACING = 999.0  # nnU-Net reads a picture as a volume of one slice this thick
VOLUME_AXES = (2, 1, 0)  # ours are those of nibabel; nnU-Net holds volumes as SimpleITK does, slowest axis first

Box = tuple[list[int], list[int]]  # start and stop per axis


def as_volume(array: np.ndarray, spatial_dims: int) -> np.ndarray:
    """[..., *spatial] in nnU-Net's axis order, a view: volumes with their axes reversed, pictures as one slice."""
    leading = array.ndim - spatial_dims
    if spatial_dims == 2:
        return np.expand_dims(array, leading)
    return array.transpose(*range(leading), *(leading + axis for axis in VOLUME_AXES))


def from_volume(array: np.ndarray, spatial_dims: int) -> np.ndarray:
    """Inverse of `as_volume`."""
    return array.squeeze(array.ndim - 3) if spatial_dims == 2 else as_volume(array, 3)


def volume_values(values: Sequence[Any], *, thickness: Any = PICTURE_SPACING) -> list[Any]:
    """Values per axis (spacing, shape) in nnU-Net's axis order; `thickness` is that of a picture's added axis."""
    return [thickness, *values] if len(values) == 2 else [values[axis] for axis in VOLUME_AXES]


def own_values(values: Sequence[Any], spatial_dims: int) -> list[Any]:
    """Inverse of `volume_values`."""
    return list(values[1:]) if spatial_dims == 2 else [values[axis] for axis in VOLUME_AXES]


def nonzero_mask(image: np.ndarray) -> np.ndarray:
    """Voxels of [C, a, b, c] that are not 0 in some channel, holes filled; bool [a, b, c].

    A hole is connected over faces and touches no side of the volume (scipy's binary_fill_holes): a volume of one slice
    has none.
    """
    mask = image[0] != 0
    for channel in image[1:]:
        mask |= channel != 0
    if mask.all():
        return mask
    components = cc3d.connected_components(~mask, connectivity=6)
    open_components = np.zeros(int(components.max()) + 1, dtype=bool)
    for axis, end in np.ndindex(components.ndim, 2):
        open_components[np.unique(components.take(-end, axis))] = True
    open_components[0] = False  # number of the mask itself
    return ~open_components[components]


def mask_box(mask: np.ndarray) -> Box:
    """The box of the True voxels; the whole array where there are none, as in nnU-Net."""
    start, stop = [0] * mask.ndim, list(mask.shape)
    for axis in range(mask.ndim):
        rows = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if len(rows):
            start[axis], stop[axis] = int(rows[0]), int(rows[-1]) + 1
    return start, stop


def box_slices(box: Box) -> tuple[slice, ...]:
    return tuple(slice(first, last) for first, last in zip(*box, strict=True))
