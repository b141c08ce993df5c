"""3D UX-Net (Lee et al. 2023, "3D UX-Net: A Large Kernel Volumetric ConvNet ...", ICLR).

Facts: MASILab/3DUX-Net at 14ea46b (README: MIT; no LICENSE file), `UXNet_3D/network_backbone.py`; parameter names are
the released ones. A ConvNeXt-like encoder with depth-wise 7^3 kernels, and UNETR's decoder.

As released: both 1x1x1 convolutions of a block are grouped by channel, so that a block never mixes channels (the
paper's figure calls them depth-wise scaling), and layer scale starts at 1e-6 whatever the caller asks for.

Deviations: the first width need not be 48; any side is accepted (zero-padded at the end to multiples of 16, cropped
again).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.channel_norm import ChannelNorm
from benchmark.models.layers.large_kernel import LargeKernelUNet
from benchmark.models.registry import register

LAYER_SCALE = 1e-6
RATIO = 4


class UXBlock(nn.Module):
    """Depth-wise convolution, LayerNorm, a four-unit perceptron per channel, layer scale, residual."""

    def __init__(self, channels: int, kernel_size: int = 7):
        super().__init__()
        self.dwconv = nn.Conv3d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.norm = ChannelNorm(channels)
        self.pwconv1 = nn.Conv3d(channels, RATIO * channels, 1, groups=channels)
        self.pwconv2 = nn.Conv3d(RATIO * channels, channels, 1, groups=channels)
        self.gamma = nn.Parameter(torch.full((channels,), LAYER_SCALE))

    def forward(self, features: Tensor) -> Tensor:
        change = self.pwconv2(functional.gelu(self.pwconv1(self.norm(self.dwconv(features)))))
        return features + self.gamma.view(-1, 1, 1, 1) * change


@register("uxnet", demo={"widths": (4, 8, 16, 32), "hidden_size": 32})
def uxnet(*, in_channels: int, out_channels: int, spatial_shape: Sequence[int], **options: Any) -> LargeKernelUNet:
    """3D UX-Net for 3-D images of any size.

    Args:
        in_channels, out_channels: image channels; classes including background.
        spatial_shape: not used.
        **options: widths, depths, hidden_size and checkpointing of `LargeKernelUNet`.
    """
    return LargeKernelUNet(
        in_channels=in_channels,
        out_channels=out_channels,
        spatial_shape=spatial_shape,
        block=UXBlock,
        pyramid_name="uxnet_3d",
        **options,
    )
