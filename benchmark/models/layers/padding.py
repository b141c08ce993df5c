"""A mixin that lets a library's network take any input size."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from benchmark.models.layers.fit import crop_to_shape, pad_to_multiple


class PadToMultiple:
    """Before a network class: its forward gets sides that are multiples of `self.multiple`, one number per axis.

    Every output is cut back, the coarse ones of deep supervision in proportion. Where the sides fit, nothing changes.

    Attributes:
        multiple: of each side.
        several: whether the network normalises over space where a side of one multiple is one element, so that an
            image of one multiple each way is padded to two (`round_up`).
    """

    multiple: Sequence[int]
    several = False

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        padded = pad_to_multiple(x, self.multiple, several=self.several)
        output = super().forward(padded)
        if isinstance(output, Tensor):
            return crop_to_shape(output, padded.shape[2:], x.shape[2:])
        return [crop_to_shape(level, padded.shape[2:], x.shape[2:]) for level in output]
