"""SegResNet: a residual encoder-decoder with group norms, in 2-D and 3-D.

Paper: Myronenko, "3D MRI brain tumor segmentation using autoencoder regularization" (2018). Licence: Apache-2.0; the
network is MONAI's class, state-dict keys as there. Rows of the Swin-UMamba tables: the defaults below (6.30 M).
Deviations: none at sides that are multiples of 8; other sides are padded with zeros inside.
"""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets import SegResNet as MonaiSegResNet
from torch import Tensor

from benchmark.models.layers.padding import PadToMultiple
from benchmark.models.registry import register


@register("segresnet", demo={"width": 8}, spatial_dims=(2, 3), decoder="up_samples.0")
class SegResNet(PadToMultiple[Tensor], MonaiSegResNet):
    """[B, in, *spatial] -> [B, out, *spatial], any size.

    Args:
        in_channels, out_channels: image channels; classes including background.
        spatial_shape: tells 2-D from 3-D.
        width: channels at full resolution, a multiple of 8 (the norms' groups).
        blocks_down, blocks_up: residual blocks per encoder and decoder level, finest first and coarsest first.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        width: int = 32,
        blocks_down: Sequence[int] = (1, 2, 2, 4),
        blocks_up: Sequence[int] = (1, 1, 1),
    ) -> None:
        super().__init__(
            spatial_dims=len(spatial_shape),
            init_filters=width,
            in_channels=in_channels,
            out_channels=out_channels,
            blocks_down=tuple(blocks_down),
            blocks_up=tuple(blocks_up),
        )
        self.multiple: Sequence[int] = [2 ** (len(blocks_down) - 1)] * len(spatial_shape)
