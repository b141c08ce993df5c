"""nnFormer's parts (Zhou et al. 2021; facts as in `benchmark.models.nnformer`). Features have channels last."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.window_block import BlockParts


def channels_first(features: Tensor) -> Tensor:
    return features.movedim(-1, 1)


def channels_last(features: Tensor) -> Tensor:
    return features.movedim(1, -1)


class Embedding(nn.Module):
    """Strided conv - GELU - norm - conv, then GELU - norm again where `more` follows. Channels last at both ends."""

    def __init__(self, in_channels: int, out_channels: int, stride: tuple[int, int, int], more: bool):
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=1)
        self.norm1 = nn.LayerNorm(out_channels)
        if more:
            self.norm2 = nn.LayerNorm(out_channels)
        self.more = more

    def forward(self, grid: Tensor) -> Tensor:
        grid = self.norm1(functional.gelu(channels_last(self.conv1(channels_first(grid)))))
        grid = channels_last(self.conv2(channels_first(grid)))
        return self.norm2(functional.gelu(grid)) if self.more else grid


class PatchEmbedding(nn.Module):
    """Image [B, C, *S] -> patches [B, *(S / (depth, 4, 4)), channels], by two embeddings; `depth` is 2 or 4."""

    def __init__(self, in_channels: int, channels: int, depth: int):
        super().__init__()
        self.proj1 = Embedding(in_channels, channels // 2, (2, 2, 2), more=True)
        self.proj2 = Embedding(channels // 2, channels, (depth // 2, 2, 2), more=False)
        self.norm = nn.LayerNorm(channels)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(self.proj2(self.proj1(channels_last(image))))


class Downsample(nn.Module):
    """GELU - norm - convolution of stride 2 that doubles the channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.reduction = nn.Conv3d(channels, 2 * channels, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(channels)

    def forward(self, grid: Tensor) -> Tensor:
        return channels_last(self.reduction(channels_first(self.norm(functional.gelu(grid)))))


class Upsample(nn.Module):
    """Norm - transposed convolution of stride 2 that halves the channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.up = nn.ConvTranspose3d(channels, channels // 2, 2, stride=2)

    def forward(self, grid: Tensor) -> Tensor:
        return channels_last(self.up(channels_first(self.norm(grid))))


class EncoderStage(nn.Module):
    def __init__(self, blocks: Sequence[BlockParts], downsample: Downsample | None):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, grid: Tensor) -> Tensor:
        for block in self.blocks:
            grid = block(grid)
        return grid


class DecoderStage(nn.Module):
    def __init__(self, blocks: Sequence[BlockParts], channels: int):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.Upsample = Upsample(2 * channels)  # capital as in the released keys

    def forward(self, grid: Tensor, skip: Tensor) -> Tensor:
        grid = self.blocks[0](self.Upsample(grid), skip)  # crosses
        for block in self.blocks[1:]:
            grid = block(grid)
        return grid


class Head(nn.Module):
    def __init__(self, channels: int, classes: int, patch: tuple[int, int, int]):
        super().__init__()
        self.up = nn.ConvTranspose3d(channels, classes, patch, stride=patch)

    def forward(self, grid: Tensor) -> Tensor:
        return self.up(channels_first(grid))
