"""One case from the raw grid to the prepared one: reorient, resample, normalise, crop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark.data import geometry
from benchmark.data.normalisation import normalise
from benchmark.data.plan import UNPLANNED, Plan
from benchmark.data.planned_grid import to_planned_grid
from benchmark.settings import Preparation


def to_prepared_grid(
    image: np.ndarray,
    labels: np.ndarray,
    affine: np.ndarray,
    *,
    preparation: Preparation,
    plan: Plan = UNPLANNED,
    multiple_of: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Reorient, resample, normalise and crop one case. Pictures have no anatomical axes and stay as they are turned.

    Args:
        image, labels, affine: [C, *spatial] in raw units, [*spatial], raw voxel → RAS+ mm.
        plan: of the training cases, where `preparation.planned`.
        multiple_of: enlarge the crop to a multiple of these sides.

    Returns:
        image float32, labels, and what `geometry.restore_labels` needs to come back.
    """
    image, labels, spacing, orientation = geometry.upright(image, labels, affine, preparation.orientation)
    reoriented = labels.shape
    if preparation.resampling is not None:
        image, labels, grid = to_planned_grid(image, labels, spacing, preparation=preparation, plan=plan)
    else:
        image, labels, grid = _to_linear_grid(image, labels, spacing, preparation)
    start, stop = geometry.foreground_box(image, preparation.foreground_above, multiple_of)
    box = grid["nonzero"]
    sides = zip(spacing, box["start"], box["stop"], labels.shape, strict=True)
    grid |= {
        "spacing": [mm * (last - first) / new for mm, first, last, new in sides],
        "crop": {"start": start, "stop": stop},
        "reoriented_shape": list(reoriented),
        "resampled_shape": list(labels.shape),
        "orientation": orientation,
    }
    return geometry.crop(image, start, stop), geometry.crop(labels, start, stop), grid


def _to_linear_grid(
    image: np.ndarray, labels: np.ndarray, spacing: Sequence[float], preparation: Preparation
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Linear interpolation, labels by the nearest voxel, then the intensities."""
    if isinstance(preparation.spacing, str):
        raise ValueError(f"spacing {preparation.spacing} needs `resampling`")
    shape = geometry.resampled_shape(labels.shape, spacing, preparation.spacing)
    prepared = np.empty((len(image), *shape), dtype=np.float32)  # filled channel by channel: a large CT is 0.7 GB
    for target, channel in zip(prepared, image, strict=True):
        target[...] = geometry.resize_linear(channel, shape)
    normalise(prepared, preparation)
    whole = {"start": [0] * labels.ndim, "stop": list(labels.shape)}
    return prepared, geometry.resize_nearest(labels, shape), {"nonzero": whole}
