"""HarDNet: blocks whose layers read the layers a power of two before them, so that few maps are kept in memory.

Paper: Chao et al., "HarDNet: A Low Memory Traffic Network" (2019). Keys are those of PingoLH/Pytorch-HarDNet (MIT).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

GROWTH_FACTOR = 1.7  # of a layer's width with each link more
DROPOUT = 0.1
# Growth, layers, channels after the 1x1 unit, and whether the resolution is halved then.
Block = tuple[int, int, int, bool]
STEM_85 = (48, 96)
BLOCKS_85: tuple[Block, ...] = (
    (24, 8, 192, True),
    (24, 16, 256, False),
    (28, 16, 320, True),
    (36, 16, 480, False),
    (48, 16, 720, True),
    (256, 4, 1280, False),
)


class ConvUnit(nn.Module):
    """Convolution without bias, batch norm, and ReLU cut at 6."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU6()

    def forward(self, features: Tensor) -> Tensor:
        return self.relu(self.norm(self.conv(features)))


def links(layer: int) -> list[int]:
    """The layers that layer `layer` (from 1) reads, nearest first; 0 is the block's input."""
    return [layer - 2**power for power in range(layer.bit_length()) if layer % 2**power == 0]


def layer_width(growth: int, layer: int) -> int:
    """Channels of a layer: `growth`, times 1.7 for each link but the first, to an even number."""
    width = float(growth)
    for _ in links(layer)[1:]:
        width *= GROWTH_FACTOR
    return 2 * (int(width + 1) // 2)


class HarmonicBlock(nn.Module):
    """[B, in_channels, H, W] -> the odd layers and the last one, joined: [B, out_channels, H, W]."""

    def __init__(self, in_channels: int, growth: int, layers: int) -> None:
        super().__init__()
        numbers = range(1, layers + 1)
        widths = [in_channels, *(layer_width(growth, layer) for layer in numbers)]
        self.layers = nn.ModuleList(
            ConvUnit(sum(widths[link] for link in links(layer)), widths[layer], 3) for layer in numbers
        )
        self.kept = [layer for layer in numbers if layer % 2 or layer == layers]
        self.out_channels = sum(widths[layer] for layer in self.kept)

    def forward(self, features: Tensor) -> Tensor:
        maps = [features]
        for number, layer in enumerate(self.layers, start=1):
            maps.append(layer(torch.cat([maps[link] for link in links(number)], dim=1)))
        return torch.cat([maps[number] for number in self.kept], dim=1)


class HarDNet(nn.Module):
    """Image [B, 3, H, W] -> five maps at strides 2, 4, 8, 16 and 32, `widths[i]` channels each.

    Args:
        stem: channels of the two 3x3 units before the first block.
        blocks: growth, layers, channels and halving of each block; three halve, as the stem halves twice.
    """

    def __init__(self, stem: Sequence[int] = STEM_85, blocks: Sequence[Block] = BLOCKS_85) -> None:
        super().__init__()
        if sum(bool(halves) for *_, halves in blocks) != 3 or blocks[-1][3]:
            raise ValueError("three blocks of a HarDNet halve the resolution, and the last one does not")
        parts: list[nn.Module] = [ConvUnit(3, stem[0], 3, 2), ConvUnit(stem[0], stem[1], 3), nn.MaxPool2d(3, 2, 1)]
        channels, self.widths = stem[1], [stem[1]]
        for number, (growth, layers, out_channels, halves) in enumerate(blocks, start=1):
            block = HarmonicBlock(channels, growth, layers)
            last = number == len(blocks)
            parts += [block, *([nn.Dropout(DROPOUT)] if last else [])]
            parts += [ConvUnit(block.out_channels, out_channels, 1), *([nn.MaxPool2d(2)] if halves else [])]
            channels = out_channels
            self.widths += [channels] if halves or last else []
        self.base = nn.ModuleList(parts)

    def forward(self, image: Tensor) -> list[Tensor]:
        features, maps = image, []
        for part in self.base:
            if isinstance(part, nn.MaxPool2d):
                maps.append(features)
            features = part(features)
        return [*maps, features]
