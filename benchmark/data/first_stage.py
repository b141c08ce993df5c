"""The spacing of nnU-Net 1.7's first stage (plans v2.1, `stage0`).

Where a patch of the full-resolution network covers less than a quarter of the median training case, nnU-Net 1.7 plans a
coarser network before it, and its files of stage 0 are those of the coarser one. How large a patch is follows from an
estimate of the network's memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PATCHES_PER_CASE = 4
STEP = 1.01  # factor of one coarsening
SIDE = 512  # mm, of the isotropic patch that planning begins with
SMALLEST_FEATURE_MAP = 4
MOST_POOLINGS = 999
FEATURES, MOST_FEATURES = 32, 320
CONVOLUTIONS = 2  # per stage and direction
MEMORY = 520_000_000 * FEATURES / 30  # the reference network has 30 features


def first_stage_spacing(
    target: np.ndarray, median_shape: np.ndarray, *, channels: int, classes: int
) -> tuple[float, ...]:
    """mm per axis of stage 0: `target` itself where one stage is enough.

    Args:
        target: spacing [3] of the full resolution in mm, the coarsest axis first.
        median_shape: [3] voxels of the median case at that spacing, not rounded.
        channels, classes: of the image and of the labels, without background.
    """
    full_patch = planned_patch(target, np.round(median_shape), channels, classes)
    voxels, patch_voxels = float(np.prod(median_shape)), int(np.prod(full_patch))
    if voxels / patch_voxels < PATCHES_PER_CASE:
        return tuple(target.tolist())
    spacing, shape = target.copy(), np.round(median_shape)
    while voxels > PATCHES_PER_CASE * patch_voxels:
        finer = spacing.max() / spacing > 2
        spacing[finer if finer.any() else ...] *= STEP
        voxels = float(np.prod(target / spacing * median_shape))
        shape = np.round(target / spacing * median_shape)
        patch_voxels = int(np.prod(planned_patch(spacing, shape, channels, classes)))
    worth_it = 2 * np.prod(shape) < np.prod(np.round(median_shape))
    return tuple((spacing if worth_it else target).tolist())


def planned_patch(spacing: np.ndarray, shape: np.ndarray, channels: int, classes: int) -> tuple[int, ...]:
    """Patch in voxels: isotropic in mm, not larger than the median case, made smaller until the network fits."""
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    def topology(patch: np.ndarray) -> tuple[list[Sequence[int]], np.ndarray, np.ndarray]:
        _, poolings, _, padded, multiple = get_pool_and_conv_props(spacing, patch, SMALLEST_FEATURE_MAP, MOST_POOLINGS)
        return list(poolings[1:]), np.array(padded), multiple

    start = np.round(spacing.max() / spacing * SIDE)
    poolings, patch, multiple = topology(np.minimum(start, shape).astype(int))
    while estimated_memory(patch, poolings, channels, classes + 1) > MEMORY:
        largest = int(np.argsort(patch / shape)[-1])
        smaller = patch.copy()
        smaller[largest] -= multiple[largest]
        patch[largest] -= topology(smaller)[2][largest]
        poolings, patch, multiple = topology(patch)
    return tuple(int(side) for side in patch)


def estimated_memory(
    patch: Sequence[int] | np.ndarray, poolings: Sequence[Sequence[int]], channels: int, classes: int
) -> int:
    """Voxels times features over all feature maps of the U-Net that nnU-Net 1.7 plans for.

    Args:
        patch: voxels per axis.
        poolings: factors per axis of each pooling.
        channels, classes: inputs and outputs, background included.
    """
    sides, features = np.array(patch), FEATURES
    total = int(np.prod(sides)) * ((2 * CONVOLUTIONS + 1) * features + channels + classes)
    for number, factors in enumerate(poolings, start=1):
        sides = sides // np.array(factors)
        features = min(2 * features, MOST_FEATURES)
        maps = 2 * CONVOLUTIONS + 1 if number < len(poolings) else CONVOLUTIONS
        total += maps * int(np.prod(sides)) * features
    return total
