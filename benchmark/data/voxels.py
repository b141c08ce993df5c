"""Where each class lies in a case: a bounded, deterministic sample of voxel coordinates, so that a foreground-centred
patch can be chosen without reading the volume."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.files import atomic_path

VOXELS_PER_CLASS = 2000
BACKGROUND_VOXELS = 10000
SLAB_VOXELS = 1 << 24  # bounds the memory of the sort below


@dataclass(frozen=True)
class ClassVoxels:
    """Sampled coordinates of every class of one case.

    Attributes:
        classes: [K] class numbers that have voxels, ascending; 0 is eligible background.
        counts: [K] voxels of the class in the volume (all of them, not the sample).
        offsets: [K + 1] rows of `coordinates` that belong to each class.
        coordinates: [N, D] voxel positions on the prepared grid.
    """

    classes: np.ndarray
    counts: np.ndarray
    offsets: np.ndarray
    coordinates: np.ndarray

    def __getitem__(self, number: int) -> np.ndarray:
        """[n, D] sampled positions of one class; empty where the class has no voxel."""
        row = int(np.searchsorted(self.classes, number))
        if row == len(self.classes) or self.classes[row] != number:
            return self.coordinates[:0]
        return self.coordinates[self.offsets[row] : self.offsets[row + 1]]

    @property
    def volumes(self) -> dict[int, int]:
        """Voxels per foreground class."""
        return {int(k): int(n) for k, n in zip(self.classes, self.counts, strict=True) if k > 0}

    def save(self, path: Path) -> None:
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez(
                stream, classes=self.classes, counts=self.counts, offsets=self.offsets, coordinates=self.coordinates
            )

    @classmethod
    def load(cls, path: Path) -> ClassVoxels:
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in ("classes", "counts", "offsets", "coordinates")})


def sample_class_voxels(
    labels: np.ndarray, *, eligible_background: np.ndarray | None = None, seed: int = 0
) -> ClassVoxels:
    """Up to `VOXELS_PER_CLASS` uniform positions per class (`BACKGROUND_VOXELS` of class 0).

    Args:
        labels: [*spatial] class numbers.
        eligible_background: [*spatial] bool; voxels of class 0 elsewhere are never chosen (MONAI's image_threshold).
        seed: the same seed and labels give the same sample.
    """
    flat = labels.reshape(-1)
    eligible = None if eligible_background is None else eligible_background.reshape(-1)
    slabs = [slice(begin, begin + SLAB_VOXELS) for begin in range(0, flat.size, SLAB_VOXELS)]
    counts = np.zeros(int(flat.max(initial=0)) + 1, dtype=np.int64)
    for slab in slabs:
        counts += np.bincount(_keys(flat, eligible, slab) + 1, minlength=len(counts) + 1)[1:]
    generator = np.random.default_rng(seed)
    ranks = {int(number): _ranks(int(number), int(counts[number]), generator) for number in np.flatnonzero(counts)}
    found: dict[int, list[np.ndarray]] = {number: [] for number in ranks}
    seen = np.zeros_like(counts)
    for slab in slabs:
        keys = _keys(flat, eligible, slab)
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange(len(counts) + 1))
        for number, wanted in ranks.items():
            inside = starts[number + 1] - starts[number]
            here = wanted[(wanted >= seen[number]) & (wanted < seen[number] + inside)] - seen[number]
            found[number].append(order[starts[number] + here] + slab.start)
            seen[number] += inside
    return _collect(found, counts, labels.shape)


def _keys(flat: np.ndarray, eligible: np.ndarray | None, slab: slice) -> np.ndarray:
    """Class numbers of a slab, -1 for background that is not eligible."""
    keys = flat[slab].astype(np.int16)
    if eligible is not None:
        keys[(keys == 0) & ~eligible[slab]] = -1
    return keys


def _ranks(number: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """Which occurrences of a class, in scan order, are kept."""
    limit = VOXELS_PER_CLASS if number else BACKGROUND_VOXELS
    return np.arange(count) if count <= limit else np.sort(generator.choice(count, limit, replace=False))


def _collect(found: dict[int, list[np.ndarray]], counts: np.ndarray, shape: tuple[int, ...]) -> ClassVoxels:
    indices = [np.concatenate(parts) for parts in found.values()]
    classes = np.array(list(found), dtype=np.int64)
    flat = np.concatenate(indices) if indices else np.zeros(0, dtype=np.int64)
    return ClassVoxels(
        classes=classes,
        counts=counts[classes],
        offsets=np.cumsum([0, *map(len, indices)]),
        coordinates=np.stack(np.unravel_index(flat, shape), axis=1).astype(np.uint16),
    )
