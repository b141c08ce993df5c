"""What a patch is read from: a prepared case as it is, or seen through a zoom of the whole volume.

A view has a shape, reads boxes of itself, and draws voxels of given classes. Boxes may reach over the border: outside,
the image is 0 (the lower end of a unit window, the mean of a z-scored image) and the labels are background.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from benchmark.data.store import PreparedCase


class CaseView:
    """A prepared case as it is."""

    def __init__(self, prepared: PreparedCase) -> None:
        self.prepared = prepared
        self.shape: tuple[int, ...] = tuple(prepared.labels.shape)

    def read(self, start: Sequence[int], size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The box [start, start + size): image float32 [C, *size] and labels uint8 [*size], zero outside the volume."""
        channels = self.prepared.image.shape[0]
        image, labels = np.zeros((channels, *size), np.float32), np.zeros(tuple(size), np.uint8)
        low = [max(a, 0) for a in start]
        high = [min(a + n, side) for a, n, side in zip(start, size, self.shape, strict=True)]
        if all(a < b for a, b in zip(low, high, strict=True)):
            source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            target = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
            image[(slice(None), *target)] = self.prepared.image[(slice(None), *source)]
            labels[target] = self.prepared.labels[source]
        return image, labels

    @property
    def classes(self) -> list[int]:
        """Classes that a voxel can be drawn of, 0 (eligible background) included."""
        return [int(number) for number in self.prepared.class_voxels.classes]

    def labelled_box(self) -> tuple[list[int], list[int]] | None:
        """The box [start, stop) of all labelled voxels; None where there is none, and of pictures."""
        slices = self.prepared.meta.get("foreground_slices")
        if not slices or not slices[0]:
            return None
        return [labelled[0] for labelled in slices], [labelled[-1] + 1 for labelled in slices]

    def draw_voxel(self, classes: Sequence[int], generator: np.random.Generator) -> np.ndarray | None:
        """A voxel [D], uniform over all voxels of these classes; None where there is none.

        The stored sample of a class stands for all its voxels: each counts as (voxels of the class) / (samples).
        """
        coordinates, weights = self._candidates(classes)
        cumulative = np.cumsum(weights)
        if not len(cumulative) or cumulative[-1] <= 0:
            return None
        row = np.searchsorted(cumulative, generator.random() * cumulative[-1], side="right")
        return coordinates[min(row, len(coordinates) - 1)].astype(np.int64)

    def _candidates(self, classes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        voxels = self.prepared.class_voxels
        rows = [row for row, number in enumerate(voxels.classes) if number in set(classes)]
        parts = [voxels.coordinates[voxels.offsets[row] : voxels.offsets[row + 1]] for row in rows]
        weights = [np.full(len(part), voxels.counts[row] / len(part)) for row, part in zip(rows, parts, strict=True)]
        if not parts:
            return np.zeros((0, len(self.shape)), np.int64), np.zeros(0)
        return np.concatenate(parts), np.concatenate(weights)


class ZoomedView(CaseView):
    """A case enlarged by a factor and cropped back to its own size around the centre.

    Equal to MONAI's `Zoom(factor, keep_size=True)` of the whole volume with mode "area" for the image and "nearest"
    for the labels (the released Swin SMT loader), but reading and computing the requested box only. Output voxel j of
    S enlarged to O = floor(S · factor) is, per axis, the mean of the input voxels floor(j S / O) to
    ceil((j + 1) S / O) - 1: one or two of them, because factor >= 1.
    """

    def __init__(self, prepared: PreparedCase, factor: float) -> None:
        super().__init__(prepared)
        if factor < 1:
            raise ValueError(f"a zoomed view enlarges: factor must be at least 1, not {factor}")
        self.enlarged = [int(np.floor(side * factor)) for side in self.shape]

    @cached_property
    def _axes(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Per axis and output voxel: first and last input voxel of the mean, and the nearest input voxel."""
        tables = []
        for side, large in zip(self.shape, self.enlarged, strict=True):
            output = np.arange(side) + (large // 2 - side // 2)
            first = output * side // large
            last = -(-(output + 1) * side // large) - 1
            # torch computes the nearest source index in float32; so does this, to agree to the voxel
            nearest = np.floor(output.astype(np.float32) * np.float32(side / large)).astype(np.int64)
            tables.append((first, last, np.minimum(nearest, side - 1)))
        return tables

    def read(self, start: Sequence[int], size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        low = [max(a, 0) for a in start]
        high = [min(a + n, side) for a, n, side in zip(start, size, self.shape, strict=True)]
        if any(a >= b for a, b in zip(low, high, strict=True)):
            return super().read([-n for n in size], size)
        rows = [tuple(table[a:b] for table in axis) for axis, a, b in zip(self._axes, low, high, strict=True)]
        begin = [int(min(first[0], nearest[0])) for first, _, nearest in rows]
        end = [int(max(last[-1], nearest[-1])) + 1 for _, last, nearest in rows]
        image, labels = super().read(begin, [b - a for a, b in zip(begin, end, strict=True)])
        for axis, ((first, last, nearest), offset) in enumerate(zip(rows, begin, strict=True)):
            image = (image.take(first - offset, axis=axis + 1) + image.take(last - offset, axis=axis + 1)) * 0.5
            labels = labels.take(nearest - offset, axis=axis)
        before = [a - s for a, s in zip(low, start, strict=True)]
        after = [s + n - b for s, n, b in zip(start, size, high, strict=True)]
        padding = list(zip(before, after, strict=True))
        return np.pad(image.astype(np.float32, copy=False), [(0, 0), *padding]), np.pad(labels, padding)

    def labelled_box(self) -> tuple[list[int], list[int]] | None:
        """As `CaseView.labelled_box`, enlarged; the part of it that is not cropped away, None where all is."""
        box = super().labelled_box()
        if box is None:
            return None
        ends = [np.searchsorted(nearest, end) for (_, _, nearest), *end in zip(self._axes, *box, strict=True)]
        start, stop = ([int(end[side]) for end in ends] for side in (0, 1))
        return (start, stop) if all(a < b for a, b in zip(start, stop, strict=True)) else None

    def draw_voxel(self, classes: Sequence[int], generator: np.random.Generator) -> np.ndarray | None:
        """As `CaseView.draw_voxel`, uniform over the enlarged labels: an input voxel that fills several output voxels
        counts as often, one that is cropped away not at all."""
        source = super().draw_voxel(classes, generator)
        if source is None:
            return None
        voxel = []
        for position, (_, _, nearest) in zip(source, self._axes, strict=True):
            low, high = np.searchsorted(nearest, [position, position + 1])
            voxel.append(generator.integers(low, high))
        return np.array(voxel)

    def _candidates(self, classes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        coordinates, weights = super()._candidates(classes)
        for axis, (_, _, nearest) in enumerate(self._axes):
            weights = weights * np.bincount(nearest, minlength=self.shape[axis])[coordinates[:, axis]]
        visible = weights > 0
        return coordinates[visible], weights[visible]
