"""nnU-Net's resampling: splines for images, one linear field per class for labels, the coarse axis apart.

The results are those of `resample_data_or_seg_to_shape` of nnunetv2, bit for bit, which itself is skimage's `resize`
(scipy's zoom, edges continued) channel by channel and, for labels, class by class. Here rows of voxels are interpolated
at once, in float64 but for input and output; a label map is resampled in one pass for all classes together; and along a
coarse axis only the slices that are used are resampled.

All arrays are [axis 0, axis 1, axis 2] in the order in which nnU-Net would hold them (see `planned_grid`): rounding
depends on the order of the axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numba
import numpy as np
from scipy import ndimage

SAME = 1e-6  # relative difference of spacings that headers may have by rounding
PADDING = 12  # edge voxels that scipy continues before it filters for a cubic spline


def _compiled(function: Callable) -> Callable:
    """numba, cached on disk where a cache folder can be written."""
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:
        return numba.njit(function)


def separate_axis(spacing: Sequence[float], other: Sequence[float], anisotropy: float | None) -> int | None:
    """The axis that is resampled apart from the two others, or None.

    Args:
        spacing, other: mm per axis on the grid looked at first and on the other one.
        anisotropy: largest over smallest spacing above which a grid is anisotropic; None: never apart.

    Returns:
        The coarsest axis of the first anisotropic grid; None where two axes share the coarsest spacing, as nnU-Net has
        it.
    """
    for grid in (spacing, other):
        coarsest = max(grid)
        if anisotropy is not None and coarsest / min(grid) > anisotropy:
            axes = [axis for axis, side in enumerate(grid) if coarsest / side - 1 < SAME]
            return axes[0] if len(axes) == 1 else None
    return None


def planned_shape(shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]) -> tuple[int, ...]:
    """Voxels at the target spacing, rounded half to even as nnU-Net does, but at least one."""
    sides = zip(shape, spacing, target, strict=True)
    return tuple(max(1, round(have / want * side)) for side, have, want in sides)


def resample_image(image: np.ndarray, shape: Sequence[int], *, order: int, axis: int | None = None) -> np.ndarray:
    """Resample one channel.

    Args:
        image: float32 [a, b, c].
        shape: of the result.
        order: of the spline: 0, 1 or 3.
        axis: resampled apart by the nearest slice, see `separate_axis`; None: all three axes together.

    Returns:
        float32 of `shape`, within the values of the input (of each slice, where an axis is apart); `image` itself
        where the shape is the same.
    """
    shape = tuple(shape)
    if image.shape == shape:
        return image
    if axis is None:
        return _zoom(image, shape, order)
    result = np.empty(shape, np.float32)
    slices, target = np.moveaxis(image, axis, 0), np.moveaxis(result, axis, 0)
    last, plane = -1, np.empty(0, np.float32)
    for number, nearest in enumerate(_nearest(len(slices), len(target))):
        if nearest != last:  # ascending: each slice is resampled once
            last, plane = nearest, _zoom(slices[nearest], target.shape[1:], order)
        target[number] = plane
    return result


def resample_labels(
    labels: np.ndarray, shape: Sequence[int], *, order: int, axis: int | None = None, winner_takes_all: bool = True
) -> np.ndarray:
    """Resample a label map.

    Args:
        labels: integers [a, b, c], negative ones allowed.
        shape: of the result.
        order: 0: the nearest voxel; 1: the share of each class is interpolated linearly.
        axis: as in `resample_image`.
        winner_takes_all: a voxel gets the class with the largest share; of equal ones that of the nearest voxel if it
            is among them, else the smallest (batchgenerators 0.25.5). False: the largest class with a share of at
            least one half, 0 where there is none (batchgenerators 0.25.0 and before).

    Returns:
        Same type, of `shape`; `labels` itself where the shape is the same.
    """
    shape = tuple(shape)
    if labels.shape == shape:
        return labels
    nearest = [_nearest(old, new) for old, new in zip(labels.shape, shape, strict=True)]
    if order == 0:
        return labels[np.ix_(*nearest)]
    taps = [_linear_taps(old, new) for old, new in zip(labels.shape, shape, strict=True)]
    if axis is not None:
        taps[axis] = Taps(np.stack([nearest[axis]] * 2), _completed([np.ones(shape[axis])]))
    result = np.empty(shape, labels.dtype)
    _blend(labels, result, *taps, *nearest, winner_takes_all)
    return result


def best_resampled(scores: np.ndarray, shape: Sequence[int], *, order: int, axis: int | None = None) -> np.ndarray:
    """Resample the scores [classes, a, b, c] class by class and keep the class of the largest; uint8 of `shape`.

    The first of equal scores wins, as in an argmax; only two resampled classes are in memory at once.
    """
    best = resample_image(scores[0], shape, order=order, axis=axis).copy()
    labels = np.zeros(tuple(shape), np.uint8)
    for number in range(1, len(scores)):
        score = resample_image(scores[number], shape, order=order, axis=axis)
        np.copyto(labels, np.uint8(number), where=score > best)
        np.maximum(best, score, out=best)
    return labels


class Taps(NamedTuple):
    """The input voxels along one axis that each output voxel is made of, and their weights; each [taps, outputs]."""

    voxel: np.ndarray
    weight: np.ndarray


def _positions(old: int, new: int) -> np.ndarray:
    """Where output voxels lie on the input, in scipy's arithmetic; the outermost lie up to half a voxel outside."""
    return (np.arange(new) + 0.5) * (old / new) - 0.5


def _nearest(old: int, new: int) -> np.ndarray:
    return np.clip(np.floor(_positions(old, new) + 0.5), 0, old - 1).astype(np.int64)


def _linear_taps(old: int, new: int) -> Taps:
    position = _positions(old, new)
    low = np.floor(position)
    index = np.clip(low + np.arange(2)[:, None], 0, old - 1).astype(np.int64)  # edges are continued
    return Taps(index, _completed([1.0 - (position - low)]))


def _cubic_taps(old: int, new: int) -> Taps:
    """On the input that has `PADDING` voxels more on both sides."""
    position = _positions(old, new) + PADDING
    low = np.floor(position)
    x = position - low
    rest = 1.0 - x
    weights = [
        rest * rest * rest / 6.0,
        (x * x * (x - 2.0) * 3.0 + 4.0) / 6.0,
        (rest * rest * (rest - 2.0) * 3.0 + 4.0) / 6.0,
    ]
    return Taps(low.astype(np.int64) - 1 + np.arange(4)[:, None], _completed(weights))


def _completed(weights: list[np.ndarray]) -> np.ndarray:
    """scipy takes the last weight as what the others leave of 1, to the last bit."""
    last = np.ones_like(weights[0])
    for weight in weights:
        last -= weight
    return np.stack([*weights, last])


def _single(index: np.ndarray) -> Taps:
    """One voxel each, with all the weight."""
    return Taps(index[None], np.ones((1, len(index))))


def _zoom(array: np.ndarray, shape: Sequence[int], order: int) -> np.ndarray:
    """skimage's `resize(mode="edge", anti_aliasing=False)` of [b, c] or [a, b, c] in float32: the spline may not leave
    the range of the input."""
    if array.shape == tuple(shape):
        return array
    if order == 0:
        nearest = [_nearest(old, new) for old, new in zip(array.shape, shape, strict=True)]
        return array[np.ix_(*nearest)]
    source = np.ascontiguousarray(array)
    if order == 3:
        source = ndimage.spline_filter(np.pad(source, PADDING, mode="edge"), 3, output=np.float64, mode="nearest")
    make = _cubic_taps if order == 3 else _linear_taps
    taps = [make(old, new) for old, new in zip(array.shape, shape, strict=True)]
    result = np.empty(tuple(shape), np.float32)
    if array.ndim == 2:
        _interpolate(source[None], result[None], _single(np.zeros(1, np.int64)), *taps)
    else:
        _interpolate(source, result, *taps)
    if order == 3:
        np.clip(result, array.min(), array.max(), out=result)
    return result


@_compiled
def _interpolate(source: np.ndarray, result: np.ndarray, first: Taps, second: Taps, third: Taps) -> None:
    """Weighted sums of voxels, row by row: products and sums in scipy's order, so that the last bit is the same."""
    row = np.empty(source.shape[2], np.float64)
    total = np.empty(result.shape[2], np.float64)
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            total[:] = 0.0
            for p in range(len(first.voxel)):
                for q in range(len(second.voxel)):
                    voxels = source[first.voxel[p, i], second.voxel[q, j]]
                    a, b = first.weight[p, i], second.weight[q, j]
                    for c in range(len(row)):
                        row[c] = voxels[c] * a * b
                    for k in range(len(total)):
                        value = total[k]
                        for r in range(len(third.voxel)):
                            value += row[third.voxel[r, k]] * third.weight[r, k]
                        total[k] = value
            for k in range(len(total)):
                result[i, j, k] = total[k]


@_compiled
def _blend(
    labels: np.ndarray,
    result: np.ndarray,
    first: Taps,
    second: Taps,
    third: Taps,
    nearest_0: np.ndarray,
    nearest_1: np.ndarray,
    nearest_2: np.ndarray,
    winner_takes_all: bool,
) -> None:
    """Share of each class among the eight neighbours of every output voxel, and the class that gets it."""
    around = np.empty(8, labels.dtype)
    weight = np.empty(8, np.float64)
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            for k in range(result.shape[2]):
                same = True
                for corner in range(8):
                    a = first.voxel[corner >> 2, i]
                    b = second.voxel[(corner >> 1) & 1, j]
                    c = third.voxel[corner & 1, k]
                    around[corner] = labels[a, b, c]
                    same = same and around[corner] == around[0]
                if same:
                    result[i, j, k] = around[0]
                    continue
                for corner in range(8):
                    a = first.weight[corner >> 2, i]
                    b = second.weight[(corner >> 1) & 1, j]
                    c = third.weight[corner & 1, k]
                    weight[corner] = a * b * c
                if winner_takes_all:
                    nearest = labels[nearest_0[i], nearest_1[j], nearest_2[k]]
                    result[i, j, k] = _largest_share(around, weight, nearest)
                else:
                    result[i, j, k] = _at_least_half(around, weight)


@_compiled
def _share(around: np.ndarray, weight: np.ndarray, label: np.integer) -> float:
    """Summed in the order of the neighbours, as scipy does for the class alone: ties depend on the last bit."""
    share = 0.0
    for corner in range(8):
        if around[corner] == label:
            share += weight[corner]
    return share


@_compiled
def _largest_share(around: np.ndarray, weight: np.ndarray, nearest: np.integer) -> np.integer:
    best, best_share = around[0], -1.0
    for corner in range(8):
        label = around[corner]
        share = _share(around, weight, label)
        if share > best_share or (share == best_share and label < best):
            best, best_share = label, share
    return nearest if _share(around, weight, nearest) == best_share else best


@_compiled
def _at_least_half(around: np.ndarray, weight: np.ndarray) -> np.integer:
    found, best = False, around[0]
    for corner in range(8):
        label = around[corner]
        if (not found or label > best) and _share(around, weight, label) >= 0.5:
            found, best = True, label
    return best if found else around.dtype.type(0)
