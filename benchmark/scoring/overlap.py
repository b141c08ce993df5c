"""Overlap of two label maps: one pass for all classes, then Dice, IoU, volumes and presence from the counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmark.scoring.kernels import count_labels


@dataclass(frozen=True)
class Overlap:
    """Counts of all labels of two maps; index 0 is the background.

    Attributes:
        reference, prediction, both: int64 [size], voxels (pixels) of each label.
        boxes: int64 [2, size, 3, 2], first and last index per axis in reference (0) and prediction (1); two-dimensional
            maps have a leading axis of length 1; `last < first` where the label does not occur.
    """

    reference: np.ndarray
    prediction: np.ndarray
    both: np.ndarray
    boxes: np.ndarray

    def box(self, label: int) -> tuple[np.ndarray, np.ndarray]:
        """Start and stop (exclusive) of the box around a label in either map; the label must occur."""
        first = self.boxes[:, label, :, 0].min(axis=0)
        last = self.boxes[:, label, :, 1].max(axis=0)
        return first, last + 1


def measure_overlap(reference: np.ndarray, prediction: np.ndarray, *, size: int | None = None) -> Overlap:
    """Count every label of two maps of equal shape in one pass.

    Args:
        reference, prediction: integer label maps [H, W] or [X, Y, Z], no negative values.
        size: number of labels to make room for, background included; at least the largest label + 1, the default.

    Raises:
        ValueError: if shapes differ or a map has another number of axes.
    """
    if reference.shape != prediction.shape or reference.ndim not in (2, 3):
        raise ValueError(f"label maps of equal shape with 2 or 3 axes, not {reference.shape} and {prediction.shape}")
    largest = max(int(reference.max(initial=0)), int(prediction.max(initial=0)))
    counts, boxes = count_labels(as_volume(reference), as_volume(prediction), max(size or 0, largest + 1))
    return Overlap(reference=counts[0], prediction=counts[1], both=counts[2], boxes=boxes)


def as_volume(labels: np.ndarray) -> np.ndarray:
    """A C-contiguous map with three axes; an image gets a leading axis of length 1."""
    return np.ascontiguousarray(labels if labels.ndim == 3 else labels[None])


def dsc(overlap: Overlap) -> np.ndarray:
    """Dice similarity coefficient 2|A∩B| / (|A|+|B|) of every label; NaN where both maps lack it.

    Dice, Ecology 1945. Agrees with MONAI, medpy and surface-distance wherever at least one mask is not empty.
    """
    return _ratio(2 * overlap.both, overlap.reference + overlap.prediction)


def iou(overlap: Overlap) -> np.ndarray:
    """Intersection over union |A∩B| / |A∪B| (Jaccard) of every label; NaN where both maps lack it."""
    return _ratio(overlap.both, overlap.reference + overlap.prediction - overlap.both)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)
