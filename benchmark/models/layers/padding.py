"""Inputs whose sides do not fit a pyramid: zeros after the far end, and the output cut back."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional


def pad_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    """[B, C, *spatial] → [B, C, *shape], zeros after the end of each axis; `x` itself where it fits already."""
    if tuple(x.shape[2:]) == tuple(shape):
        return x
    missing = [
        amount for have, want in zip(x.shape[:1:-1], reversed(shape), strict=True) for amount in (0, want - have)
    ]
    return functional.pad(x, missing)


def crop_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The first `shape` voxels of [B, C, *spatial]; `x` itself where it has that size."""
    return x[(slice(None), slice(None), *(slice(side) for side in shape))] if tuple(x.shape[2:]) != tuple(shape) else x


def round_up(shape: Sequence[int], multiple: Sequence[int]) -> tuple[int, ...]:
    """Each side, raised to the next multiple of its axis."""
    return tuple(-(-side // step) * step for side, step in zip(shape, multiple, strict=True))


class PadToMultiple:
    """Mixin before a network class: its forward gets sides that are multiples of `self.multiple`, one number per axis.

    Every output is cut back, the coarse ones of deep supervision in proportion (rounded up). Where the sides fit,
    nothing is changed.
    """

    multiple: Sequence[int]

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        shape = x.shape[2:]
        padded = round_up(shape, self.multiple)
        output = super().forward(pad_to(x, padded))
        if isinstance(output, Tensor):
            return crop_to(output, shape)
        sizes = [[-(-s * o // p) for s, o, p in zip(shape, y.shape[2:], padded, strict=True)] for y in output]
        return [crop_to(y, size) for y, size in zip(output, sizes, strict=True)]
