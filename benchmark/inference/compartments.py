"""The boxes between window borders: where blended scores live, and for how long."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

Slices = tuple[slice, ...]


@dataclass
class Compartment:
    """A box that every window covers wholly or not at all.

    Attributes:
        where: the box in the volume.
        windows_left: windows that still have to be added.
        scores: float32 [classes, *box], sum of weight · logits; None before the first and after the last window.
        weight: float32 [1, *box], sum of weights.
    """

    where: Slices
    windows_left: int
    scores: Tensor | None = None
    weight: Tensor | None = None

    @property
    def voxels(self) -> int:
        return prod(side.stop - side.start for side in self.where)

    def inside(self, window: Slices) -> Slices:
        """The box in the coordinates of a window, after the channel axis."""
        return slice(None), *shifted(self.where, [-side.start for side in window])

    def add(self, weighted: Tensor, weight: Tensor) -> None:
        """Add one window's weight · logits [classes, *box] and its weights [1, *box]."""
        if self.scores is None or self.weight is None:
            self.scores, self.weight = torch.zeros_like(weighted), torch.zeros_like(weight)
        self.scores += weighted
        self.weight += weight
        self.windows_left -= 1

    def take_mean(self) -> Tensor:
        """The weighted mean; the compartment gives up its memory.

        Raises:
            ValueError: nothing has been added.
        """
        scores, weight = self.scores, self.weight
        if scores is None or weight is None:
            raise ValueError("a compartment without a window has no mean")
        self.scores = self.weight = None
        scores /= weight
        return scores


class Compartments:
    """All compartments of a volume under a regular grid of `windows`: every combination of starts per axis."""

    def __init__(self, windows: Sequence[Slices]) -> None:
        self._cuts, self._covering = [], []
        for sides in zip(*windows, strict=True):
            intervals = {(side.start, side.stop) for side in sides}
            cuts = sorted(set(itertools.chain.from_iterable(intervals)))
            self._cuts.append(cuts)
            self._covering.append([sum(start <= cut < stop for start, stop in intervals) for cut in cuts[:-1]])
        self._alive: dict[tuple[int, ...], Compartment] = {}

    def touched_by(self, window: Slices) -> Iterator[Compartment]:
        """The compartments of one window. Ask once per window: a compartment is forgotten after its last one."""
        ranges = [
            range(bisect_left(cuts, side.start), bisect_left(cuts, side.stop))
            for cuts, side in zip(self._cuts, window, strict=True)
        ]
        for index in itertools.product(*ranges):
            compartment = self._alive.get(index) or self._alive.setdefault(index, self._new(index))
            yield compartment
            if not compartment.windows_left:
                del self._alive[index]

    def _new(self, index: tuple[int, ...]) -> Compartment:
        where = tuple(slice(cuts[i], cuts[i + 1]) for cuts, i in zip(self._cuts, index, strict=True))
        return Compartment(where, prod(covering[i] for covering, i in zip(self._covering, index, strict=True)))

    @property
    def voxels_alive(self) -> int:
        """Voxels whose scores are in memory now."""
        return sum(compartment.voxels for compartment in self._alive.values())


def shifted(where: Slices, offsets: Sequence[int]) -> Slices:
    return tuple(slice(side.start + by, side.stop + by) for side, by in zip(where, offsets, strict=True))
