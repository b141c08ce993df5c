"""A random part of a volume that keeps its labelled voxels: MedicalNet's crop before it resizes.

Facts: Tencent/MedicalNet at 20f76aa (MIT), `datasets/brains18.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmark.data.geometry import foreground_box
from benchmark.datasets.base import IGNORED

Box = tuple[list[int], list[int]]  # start and stop per axis


def crop_around_labels(
    image: np.ndarray, labels: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Views of an image [C, *spatial] and its labels [*spatial]: without the border of one value, and of the rest a
    random box around what is labelled; all of the rest where nothing is."""
    inside = tuple(slice(first, last) for first, last in zip(*box_of_content(image), strict=True))
    image, labels = image[(slice(None), *inside)], labels[inside]
    labelled = (labels > 0) & (labels != IGNORED)
    if not labelled.any():
        return image, labels
    first, stop = foreground_box(labelled[None], 0)
    last = [end - 1 for end in stop]
    spatial = labels.ndim
    start, stop = box_around(first, last, labels.shape, generator.random(spatial), generator.random(spatial))
    box = tuple(slice(begin, end) for begin, end in zip(start, stop, strict=True))
    return image[(slice(None), *box)], labels[box]


def box_of_content(image: np.ndarray) -> Box:
    """The box [start, stop) of the voxels of [C, *spatial] that differ from the first one in any channel; all of a
    constant image.

    As released, the last plane of the box is left out along each axis, but never the only one.
    """
    corner = image[(slice(None), *(slice(1),) * (image.ndim - 1))]
    differs = np.any(image != corner, axis=0)
    start, stop = foreground_box(differs[None], 0)
    if not differs.any():
        return start, stop
    return start, [max(end - 1, begin + 1) for begin, end in zip(start, stop, strict=True)]


def box_around(
    first: Sequence[int], last: Sequence[int], shape: Sequence[int], below: np.ndarray, above: np.ndarray
) -> Box:
    """The box [start, stop) that two draws in [0, 1) per axis choose.

    It begins between the border and half an extent before the labels, and ends between half an extent behind them and
    the border. Positions are cut down to whole voxels, so that labels of one or two planes may lose the last, as
    released. It has one voxel along each axis at least, where the release fails.

    Args:
        first, last: first and last labelled position along each axis; their difference is the extent.
        shape: of the volume.
        below, above: draws for the start and for the stop of each axis.
    """
    start, stop = [], []
    for low, high, side, early, late in zip(first, last, shape, below, above, strict=True):
        half = (high - low) / 2
        begin = max(int((low - half) * early), 0)
        end = min(int(side - (side - (high + half)) * late), side)
        start.append(begin)
        stop.append(max(end, begin + 1))
    return start, stop
