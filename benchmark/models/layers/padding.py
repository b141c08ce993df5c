"""A mixin that lets a library's network take any input size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar, overload

from torch import Tensor, nn

from benchmark.models.layers.fit import crop_to_shape, pad_to_multiple

Output = TypeVar("Output", Tensor, Tensor | list[Tensor])


class PadToMultiple(nn.Module, Generic[Output]):
    """Before a network class: its forward gets sides that are multiples of `self.multiple`, one number per axis.

    Every output is cut back, the coarse ones of deep supervision in proportion. Where the sides fit, nothing changes.
    `Output` is what the network gives: a tensor, or a list as well where it has deep supervision.

    Attributes:
        multiple: of each side.
        several: whether the network normalises over space where a side of one multiple is one element, so that an
            image of one multiple each way is padded to two (`round_up`).
    """

    multiple: Sequence[int]
    several = False

    def forward(self, x: Tensor) -> Output:
        padded = pad_to_multiple(x, self.multiple, several=self.several)
        output: Output = super().forward(padded)
        return _crop(output, padded.shape[2:], x.shape[2:])


@overload
def _crop(output: Tensor, padded: Sequence[int], shape: Sequence[int]) -> Tensor: ...
@overload
def _crop(output: list[Tensor], padded: Sequence[int], shape: Sequence[int]) -> list[Tensor]: ...
def _crop(output: Tensor | list[Tensor], padded: Sequence[int], shape: Sequence[int]) -> Tensor | list[Tensor]:
    if isinstance(output, Tensor):
        return crop_to_shape(output, padded, shape)
    return [crop_to_shape(level, padded, shape) for level in output]
