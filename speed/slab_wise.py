"""Sliding window by slabs, the algorithm of MONAI pull request 9071 (open on 2026-11-30, in no release), written anew.

The scores of one row of windows across the volume's longest axis are kept; what no later row touches is reduced to
labels and the rest moved to the front. Division and move allocate what they allocate in the proposal. A voxel's
products are summed row by row, so labels may differ from MONAI's where two classes are equal but for rounding.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter

import torch
from torch import Tensor, nn

from benchmark.inference.compartments import Slices
from benchmark.inference.sliding_window import Window


@torch.no_grad()
def slab_wise_labels(network: nn.Module, image: Tensor, window: Window, classes: int) -> Tensor:
    """Labels, uint8 [*spatial], of an image [channels, *spatial] that is nowhere smaller than the window."""
    shape, weight = image.shape[1:], window.weights(image.device)
    slab = _Slab(shape, window, classes)
    starts = [(position[slab.axis].start, position) for position in window.positions(shape)]
    for first, row in groupby(sorted(starts, key=itemgetter(0)), key=itemgetter(0)):
        slab.finish_until(first)
        for _, position in row:
            slab.add(position, network(image[(slice(None), *position)][None])[0], weight)
    slab.finish_until(shape[slab.axis])
    return slab.labels


class _Slab:
    """Scores as high as a window along the longest axis, and whole along the others."""

    def __init__(self, shape: torch.Size, window: Window, classes: int) -> None:
        self.axis = shape.index(max(shape))
        self.height, self.begin = window.patch[self.axis], 0
        across = [*shape[: self.axis], self.height, *shape[self.axis + 1 :]]
        self.scores, self.weights = torch.zeros(classes, *across), torch.zeros(1, *across)
        self.labels = torch.empty(shape, dtype=torch.uint8)

    def rows(self, begin: int, end: int) -> Slices:
        """Rows along the axis of [channels, *spatial]."""
        return (slice(None),) * (self.axis + 1) + (slice(begin, end),)

    def add(self, position: Slices, logits: Tensor, weight: Tensor) -> None:
        inside = (slice(None), *position[: self.axis], slice(None), *position[self.axis + 1 :])
        self.scores[inside] += logits * weight
        self.weights[inside] += weight

    def finish_until(self, row: int) -> None:
        """Label what lies before this row of the volume and move the rest to the front."""
        count = row - self.begin
        if not count:
            return
        done = self.rows(0, count)
        self.labels[self.rows(self.begin, row)[1:]] = (self.scores[done] / self.weights[done]).argmax(0).byte()
        for slab in (self.scores, self.weights):
            moved = slab[self.rows(count, self.height)].clone()
            slab.zero_()
            slab[self.rows(0, self.height - count)] = moved
        self.begin = row
