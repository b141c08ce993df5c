"""Patches from the box of all labelled voxels, as DoDNet draws them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmark.data.views import CaseView

Sides = Sequence[int]


def label_box(
    view: CaseView, patch: Sides, read: Sides, fraction: float, generator: np.random.Generator, *, margin: int = 0
) -> list[int]:
    """Where a patch begins: with probability `fraction` uniform among the places inside of the box of all labelled
    voxels, else among all places in the volume; where nothing is labelled, always the latter.

    Along an axis on which the box is shorter than the patch, the places are those at which the patch holds the box.
    A patch longer than the volume is centred on it.

    Args:
        view: of a volume.
        patch: not used, as places are drawn for what is read (`ScaledCrop`).
        read: voxels per axis that are read.
        fraction: share of patches from the box.
        margin: voxels by which the box is enlarged on each side, inside of the volume.
    """
    box = view.labelled_box() if generator.random() < fraction else None
    low, high = box or ([0] * len(read), list(view.shape))
    start = []
    for first, last, side, size in zip(low, high, view.shape, read, strict=True):
        if size >= side:
            start.append(-((size - side) // 2))
            continue
        ends = max(first - margin, 0), min(last + margin, side) - size
        lowest, highest = (min(max(end, 0), side - size) for end in sorted(ends))
        start.append(int(generator.integers(lowest, highest + 1)))
    return start
