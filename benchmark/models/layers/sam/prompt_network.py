"""AutoSAM's prompt network: an image to the dense prompt that takes the place of SAM's mask embedding.

Paper: Shaharabany et al., "AutoSAM" (2023). talshaharabany/AutoSAM @3959d72 has no licence; written from a description
of what it computes, with its keys.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.hardnet import BLOCKS_85, STEM_85, Block, HarDNet

SLOPE = 0.01


def convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


class UpBlock(nn.Module):
    """[B, in_channels, H, W], doubled, and [B, skip_channels, 2 H, 2 W] -> [B, skip_channels, 2 H, 2 W]."""

    def __init__(self, in_channels: int, skip_channels: int) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels + skip_channels, skip_channels)
        self.conv2 = convolution(skip_channels, skip_channels)
        self.BN = nn.BatchNorm2d(skip_channels)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        doubled = functional.interpolate(features, size=skip.shape[2:], mode="bilinear", align_corners=False)
        x = self.conv2(self.conv1(torch.cat([doubled, skip], dim=1)))
        return functional.leaky_relu(self.BN(x), SLOPE)


class FinalBlock(nn.Module):
    """Two convolutions; the second batch norm has keys, as released, and is never applied."""

    def __init__(self, in_channels: int, middle: int, out_channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = convolution(in_channels, middle), convolution(middle, out_channels)
        self.BN1, self.BN2 = nn.BatchNorm2d(middle), nn.BatchNorm2d(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        return self.conv2(functional.relu(self.BN1(self.conv1(features))))


class PromptDecoder(nn.Module):
    """Five maps at strides 2 to 32 -> [B, out_channels, H / 4, W / 4] in -1 .. 1; the outer two maps are not read."""

    def __init__(self, widths: Sequence[int], width: int, prompts: int) -> None:
        super().__init__()
        self.up1 = UpBlock(widths[3], widths[2])
        self.up2 = UpBlock(widths[2], widths[1])
        self.final = FinalBlock(widths[1], width, prompts * width)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        _, quarter, eighth, sixteenth, _ = maps
        return self.final(self.up2(self.up1(sixteenth, eighth), quarter)).tanh()


class PromptNetwork(nn.Module):
    """Image [B, 3, H, W] -> dense prompts [B, prompts, width, *grid].

    Args:
        width: of SAM's decoder.
        prompts: dense prompts for each image; 1 in the release.
        stem, blocks: of the HarDNet; HarDNet-85 in the release.
    """

    def __init__(
        self, width: int, prompts: int = 1, *, stem: Sequence[int] = STEM_85, blocks: Sequence[Block] = BLOCKS_85
    ) -> None:
        super().__init__()
        self.prompts = prompts
        self.backbone = HarDNet(stem, blocks)
        self.decoder = PromptDecoder(self.backbone.widths, width, prompts)

    def forward(self, image: Tensor, grid: Sequence[int]) -> Tensor:
        prompts = self.decoder(self.backbone(image))
        resized = functional.interpolate(prompts, size=tuple(grid), mode="bilinear", align_corners=True)
        return resized.unflatten(1, (self.prompts, -1))
