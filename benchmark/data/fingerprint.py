"""nnU-Net's fingerprint of the training cases: spacings, shapes after the crop, intensities of the foreground.

Cases are looked at in worker processes, one at a time each. Of the intensities a case returns its distinct values and
how often each counts, so that the parent holds 12 bytes per distinct value of the data set: some kB for CT, and at most
1.2 GB for the 10^8 voxels that nnU-Net 2 draws, whatever the number of cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from benchmark.data import geometry
from benchmark.data.nonzero import as_volume, box_slices, mask_box, nonzero_mask, volume_values
from benchmark.datasets import Case, get_dataset
from benchmark.datasets.base import IGNORED
from benchmark.errors import InputError
from benchmark.settings import Preparation, Settings

DRAWN_VOXELS = 10**8  # of all cases together, nnunetv2 DatasetFingerprintExtractor
DRAW_SEED = 1234
DRAWS_AT_ONCE = 1 << 20
EVERY = 10  # nnU-Net 1.7 takes every tenth foreground voxel

Counts = tuple[np.ndarray, np.ndarray]  # distinct values, ascending float32, and how often each counts


class Intensities(Settings):
    """Foreground intensities of one channel over all training cases."""

    mean: float
    std: float
    median: float
    minimum: float
    maximum: float
    percentile_00_5: float
    percentile_99_5: float


@dataclass(frozen=True)
class CaseFacts:
    """What one training case adds to the fingerprint, axes in nnU-Net's order.

    Attributes:
        case: its id.
        spacing: mm.
        shape: voxels after the crop.
        kept: share of the voxels that the crop keeps.
        counts: foreground intensities of each channel; empty where the plan does not need them.
    """

    case: str
    spacing: tuple[float, ...]
    shape: tuple[int, ...]
    kept: float
    counts: tuple[Counts, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class FactsTask:
    """All that a worker needs to look at one case; `cases` is the number of training cases."""

    dataset: str
    case: Case
    preparation: Preparation
    labels: tuple[str, ...] | None
    cases: int


def case_facts(task: FactsTask) -> CaseFacts:
    """Read one case and look at it.

    Raises:
        InputError: image and labels differ in shape, or there are NaN or infinite intensities in the foreground.
    """
    dataset, preparation = get_dataset(task.dataset), task.preparation
    image, affine = dataset.load_image(task.case)
    labels = dataset.load_labels(task.case, task.labels)[0]
    if image.shape[1:] != labels.shape:
        raise InputError(
            "image and masks differ in geometry",
            where=task.case.images[0],
            expected=image.shape[1:],
            found=labels.shape,
            remedy="run `retable verify`: it lists every fault of every case",
        )
    image, labels, spacing, _ = geometry.upright(image, labels, affine, preparation.orientation)
    spatial_dims = labels.ndim
    image, labels = as_volume(image, spatial_dims), as_volume(labels, spatial_dims)
    box = box_slices(mask_box(nonzero_mask(image) if preparation.crop else np.ones(labels.shape, bool)))
    counts: tuple[Counts, ...] = ()
    if preparation.normalise == "ct_global":
        foreground = _foreground(labels[box], task.case.ignore)
        counts = foreground_counts(image[(slice(None), *box)], foreground, preparation, task.cases)
        if not all(np.isfinite(values).all() for values, _ in counts):
            raise InputError("intensities are NaN or infinite", where=task.case.images[0], remedy="mend the image")
    shape = labels[box].shape
    return CaseFacts(task.case.id, tuple(volume_values(spacing)), shape, prod(shape) / prod(labels.shape), counts)


def _foreground(labels: np.ndarray, ignore: int | None) -> np.ndarray:
    return labels > 0 if ignore is None else (labels > 0) & (labels != IGNORED)


def foreground_counts(
    image: np.ndarray, foreground: np.ndarray, preparation: Preparation, cases: int
) -> tuple[Counts, ...]:
    """Foreground intensities of each channel as nnU-Net takes them from one case.

    nnU-Net 2 draws 10^8 / cases voxels with replacement, one generator per case for its channels in turn; nnU-Net 1.7
    takes every tenth. No foreground gives no values.

    Args:
        image, foreground: [C, a, b, c] and bool [a, b, c].
        cases: number of training cases.
    """
    generator, counts = np.random.RandomState(DRAW_SEED), []
    for channel in image:
        voxels = channel[foreground].astype(np.float32)
        if preparation.resampling is not None and preparation.resampling.rules == "1.7":
            counts.append(distinct(voxels[::EVERY]))
        else:
            counts.append(distinct(voxels, _times_drawn(generator, len(voxels), DRAWN_VOXELS // cases)))
    return tuple(counts)


def _times_drawn(generator: np.random.RandomState, voxels: int, draws: int) -> np.ndarray:
    """How often `generator.choice(voxels, draws)` takes each voxel, without holding the draws."""
    times = np.zeros(voxels, np.int64)
    if voxels:
        for begin in range(0, draws, DRAWS_AT_ONCE):
            drawn = generator.randint(0, voxels, size=min(DRAWS_AT_ONCE, draws - begin))
            times += np.bincount(drawn, minlength=voxels)
    return times


def distinct(values: np.ndarray, times: np.ndarray | None = None) -> Counts:
    """Distinct values in ascending order and how often each counts; values that never count are left out."""
    if times is None:
        return np.unique(values, return_counts=True)
    found, position = np.unique(values, return_inverse=True)
    counts = np.zeros(len(found), np.int64)
    np.add.at(counts, position, times)
    return found[counts > 0], counts[counts > 0]


def merged(parts: Iterable[Counts]) -> Counts:
    """Counts of several cases as one; the order of the cases does not matter."""
    values, counts = np.zeros(0, np.float32), np.zeros(0, np.int64)
    for more, times in parts:
        values, counts = distinct(np.concatenate([values, more]), np.concatenate([counts, times]))
    return values, counts


def intensities(counts: Counts) -> Intensities:
    """Statistics of values that count several times; percentiles as numpy's (linear), moments in float64.

    Raises:
        ValueError: there are no values.
    """
    values, times = counts
    if not len(values):
        raise ValueError("no intensities")
    wide, total = values.astype(np.float64), int(times.sum())
    mean = float((wide * times).sum() / total)
    std = float(np.sqrt((np.square(wide - mean) * times).sum() / total))
    low, middle, high = _percentiles(values, times, (0.5, 50.0, 99.5))
    return Intensities(
        mean=mean,
        std=std,
        median=middle,
        minimum=float(values[0]),
        maximum=float(values[-1]),
        percentile_00_5=low,
        percentile_99_5=high,
    )


def _percentiles(values: np.ndarray, times: np.ndarray, wanted: Sequence[float]) -> list[float]:
    ends = np.cumsum(times)
    position = np.asarray(wanted) / 100 * (ends[-1] - 1)
    below = np.floor(position).astype(np.int64)
    pairs = [np.minimum(below + step, ends[-1] - 1) for step in (0, 1)]
    low, high = (values[np.searchsorted(ends, pair, side="right")] for pair in pairs)
    share = position - below
    step = high - low  # float32, as numpy has it
    return np.where(share < 0.5, low + step * share, high - step * (1 - share)).astype(float).tolist()
