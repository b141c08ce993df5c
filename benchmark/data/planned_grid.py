"""Cases on nnU-Net's grid and back: crop to non-zero, normalise and resample in its order, scores to the raw grid.

Arrays come and go in our axis order; in between they are held as nnU-Net holds them, because rounding depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark.data import geometry
from benchmark.data.nonzero import (
    Box,
    as_volume,
    box_slices,
    from_volume,
    mask_box,
    nonzero_mask,
    own_values,
    volume_values,
)
from benchmark.data.normalisation import normalise, normalise_planned
from benchmark.data.plan import Plan
from benchmark.data.resampling import best_resampled, planned_shape, resample_image, resample_labels, separate_axis
from benchmark.datasets.base import IGNORED
from benchmark.settings import Preparation, Resampling

OUTSIDE = -1  # nnU-Net's label of unlabelled voxels outside the non-zero mask


def to_planned_grid(
    image: np.ndarray, labels: np.ndarray, spacing: Sequence[float], *, preparation: Preparation, plan: Plan
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Prepare one upright case as nnU-Net does.

    Args:
        image, labels, spacing: [C, *spatial] in raw units, [*spatial], mm per axis.
        preparation: with `resampling`.
        plan: of the training cases.

    Returns:
        image float32 [C, *prepared], labels uint8 [*prepared], and the part of the case's meta that leads back.
    """
    resampling, dims = preparation.resampling, labels.ndim
    if resampling is None:
        raise ValueError("a preparation without `resampling` has no planned grid")
    order = _axis_order(spacing, preparation, plan)
    held, seg, box, outside = _cropped(image, labels, order, crop=preparation.crop is not None)
    have, want = (
        [values[axis] for axis in order] for values in (volume_values(spacing), _target(spacing, preparation, plan))
    )
    shape = planned_shape(seg.shape, have, want)
    axis = separate_axis(have, want, resampling.anisotropy)
    if resampling.rules != "1.7":
        _normalise(held, outside, preparation, plan)
    resampled = np.empty((len(held), *shape), np.float32)
    for target, channel in zip(resampled, held, strict=True):
        target[...] = resample_image(channel, shape, order=resampling.image_order, axis=axis)
    most = resampling.rules == "2.8"
    seg = resample_labels(seg, shape, order=resampling.label_order, axis=axis, winner_takes_all=most)
    if resampling.rules == "1.7":
        _normalise(resampled, seg == OUTSIDE, preparation, plan)
    seg[seg == OUTSIDE] = IGNORED if preparation.outside == "ignored" else 0
    undo = np.argsort(order)
    whole = from_volume(resampled.transpose(0, *(axis + 1 for axis in undo)), dims)
    classes = from_volume(seg.transpose(undo), dims).astype(np.uint8)
    start, stop = (own_values([side[axis] for axis in undo], dims) for side in box)
    way_back = {"axes": list(order), **_scores_back(have, want, resampling)}
    return whole, classes, {"nonzero": {"start": start, "stop": stop}, "scores": way_back}


def restore_scores(scores: np.ndarray, meta: dict[str, Any]) -> np.ndarray:
    """Scores on the prepared grid as labels on the raw grid: resampled class by class, then the highest.

    Args:
        scores: float32 [classes, *prepared]; overwritten where nnU-Net 1.7's softmax is asked for.
        meta: the case's json.

    Returns:
        uint8 [*raw spatial]; background outside the non-zero box.

    Raises:
        ValueError: the scores do not have the prepared shape.
    """
    if list(scores.shape[1:]) != list(meta["shape"]):
        raise ValueError(f"{meta['case']}: prepared shape is {meta['shape']}, the scores are {scores.shape[1:]}")
    back, dims = meta["scores"], scores.ndim - 1
    order, undo = back["axes"], np.argsort(back["axes"])
    if back["softmax"]:
        scores -= scores.max(axis=0)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=0)
    held = as_volume(scores, dims).transpose(0, *(axis + 1 for axis in order))
    box = [volume_values(meta["nonzero"][end], thickness=int(end == "stop")) for end in ("start", "stop")]
    sides = [box[1][axis] - box[0][axis] for axis in order]
    labels = best_resampled(held, sides, order=back["order"], axis=back["separate_axis"])
    labels = from_volume(labels.transpose(undo), dims)
    return geometry.from_upright(geometry.uncrop(labels, meta["nonzero"]["start"], meta["reoriented_shape"]), meta)


def _scores_back(have: Sequence[float], want: Sequence[float], resampling: Resampling) -> dict[str, Any]:
    """How scores are resampled; nnU-Net 1.7 looks at the raw spacing first here too, nnU-Net 2 at the planned one."""
    first = resampling.rules == "1.7"
    axis = separate_axis(*((have, want) if first else (want, have)), resampling.anisotropy)
    return {"separate_axis": axis, "order": resampling.score_order, "softmax": first}


def _target(spacing: Sequence[float], preparation: Preparation, plan: Plan) -> list[float]:
    """Spacing to resample to, in nnU-Net's axis order."""
    target: Sequence[float] | None = plan.spacing if isinstance(preparation.spacing, str) else preparation.spacing
    if target is None:
        return volume_values(spacing)
    if preparation.spacing == "planned_in_plane" and plan.slice_axis is not None:
        target = [spacing[axis] if axis == plan.slice_axis else side for axis, side in enumerate(target)]
    return volume_values(target)


def _axis_order(spacing: Sequence[float], preparation: Preparation, plan: Plan) -> tuple[int, ...]:
    """nnU-Net's transposition: the axis of the coarsest target spacing comes first."""
    if isinstance(preparation.spacing, str) and plan.slice_axis is not None:
        first = volume_values([0, 1, 2]).index(plan.slice_axis)
    else:
        first = int(np.argmax(_target(spacing, preparation, plan)))
    return (first, *(axis for axis in range(3) if axis != first))


def _cropped(
    image: np.ndarray, labels: np.ndarray, order: Sequence[int], *, crop: bool
) -> tuple[np.ndarray, np.ndarray, Box, np.ndarray]:
    """Image, labels with -1 outside the mask, the box in `order`, and where outside is; all [..., a, b, c]."""
    whole = np.ascontiguousarray(as_volume(image, labels.ndim), dtype=np.float32)
    if np.may_share_memory(whole, image):
        whole = whole.copy()  # it is normalised in place
    held = whole.transpose(0, *(axis + 1 for axis in order))
    seg = as_volume(labels, labels.ndim).transpose(order).astype(np.int16)
    if not crop:
        return held, seg, ([0, 0, 0], list(seg.shape)), np.zeros(seg.shape, bool)
    mask = nonzero_mask(held)
    box = mask_box(mask)
    inside = box_slices(box)
    held, seg = held[(slice(None), *inside)], seg[inside]
    outside = (seg == 0) & ~mask[inside]
    seg[outside] = OUTSIDE
    return held, seg, box, outside


def _normalise(image: np.ndarray, outside: np.ndarray, preparation: Preparation, plan: Plan) -> None:
    if preparation.normalise in ("zscore_planned", "ct_global"):
        normalise_planned(image, ~outside if plan.mask else None, preparation, plan.intensities)
    else:
        normalise(image, preparation)
