"""SAMUS: a convolutional branch beside SAM's encoder, which its global blocks read by cross attention.

Paper: Lin et al., "SAMUS" (2023). Released: xianlin7/SAMUS @030ed07 (MIT); keys are its own.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.channel_norm import ChannelNorm
from benchmark.models.layers.sam.adapters import SCALE, Bottleneck
from benchmark.models.layers.sam.image_encoder import Block, Encoded, ImageEncoder
from benchmark.models.layers.sam.sizes import PATCH, SamSize

STEM = 64  # channels of the first convolution; each halving doubles them, the last one gives the encoder's width
GRID = 32  # rows and columns of tokens, whatever the image size
TABLE = 64  # rows and columns of SAM's table of positions, which is kept
RESIZED = 264  # pixels along a side: 32 overlapping patches of 16, every 8 pixels
EXIT_SCALE = 0.5  # of the branch, where it joins the tokens


def convolution_unit(in_channels: int, out_channels: int) -> list[nn.Module]:
    """3x3 convolution without bias, norm over channels, GELU."""
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return [convolution, ChannelNorm(out_channels), nn.GELU()]


class Convolution(nn.Module):
    """[B, in_channels, H, W] -> [B, out_channels, H, W]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(*convolution_unit(in_channels, out_channels))

    def forward(self, features: Tensor) -> Tensor:
        return self.conv(features)


class Down(nn.Module):
    """[B, in_channels, H, W] -> [B, out_channels, H / 2, W / 2]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), *convolution_unit(in_channels, out_channels))

    def forward(self, features: Tensor) -> Tensor:
        return self.maxpool_conv(features)


class SideBranch(nn.Module):
    """Image [B, 3, S, S] -> [B, width, 32, 32], S a power of two times 32."""

    def __init__(self, width: int, halvings: int) -> None:
        super().__init__()
        widths = [STEM * 2**level for level in range(halvings)] + [width]
        self.inc = Convolution(3, widths[0])
        self.downs = nn.ModuleList(Down(*pair) for pair in pairwise(widths))

    def forward(self, image: Tensor) -> Tensor:
        features = self.inc(image)
        for down in self.downs:
            features = down(features)
        return features


class PositionUnits(nn.Module):
    """Position table [1, S, S, width], halved by convolutions -> [1, 32, 32, width]."""

    def __init__(self, width: int, halvings: int) -> None:
        super().__init__()
        self.downs = nn.ModuleList(Down(width, width) for _ in range(halvings))

    def forward(self, table: Tensor) -> Tensor:
        features = table.permute(0, 3, 1, 2)
        for down in self.downs:
            features = down(features)
        return features.permute(0, 2, 3, 1)


class CrossAttention(nn.Module):
    """Tokens [B, H, W, width] read the branch [B, H, W, width]; no relative position."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, branch: Tensor) -> Tensor:
        parts = [self.q(tokens), self.k(branch), self.v(branch)]
        query, key, value = (part.flatten(1, 2).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        read = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(read.transpose(1, 2).reshape(tokens.shape))


class BranchedBlock(Block):
    """A global block that reads the branch before its attention, refines it, and has an adapter beside its perceptron.

    What it reads joins the normalised input of the attention, not the tokens.
    """

    def __init__(self, width: int, heads: int, grid: Sequence[int]) -> None:
        super().__init__(width, heads, grid, None)
        self.MLP_Adapter = Bottleneck(width)
        self.Space_Adapter = CrossAttention(width, heads)
        self.refine_Adapter = Convolution(width, width)

    def read(self, grid: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B, H, W, width] and branch [B, width, H, W] -> both."""
        normalised = self.norm1(grid)
        read = normalised + self.Space_Adapter(normalised, branch.permute(0, 2, 3, 1))
        grid = grid + self.attn(read)
        return grid + self.transformed(self.norm2(grid)), self.refine_Adapter(branch)

    def transformed(self, normalised: Tensor) -> Tensor:
        return self.mlp(normalised) + SCALE * self.MLP_Adapter(normalised)


def make_block(width: int, heads: int, grid: Sequence[int], window: int | None) -> Block:
    return Block(width, heads, grid, window) if window else BranchedBlock(width, heads, grid)


class BranchedEncoder(ImageEncoder):
    """Images [B, 3, side, side] in 0 … 1 -> `Encoded` of 32 x 32 places, whatever the side.

    Patches overlap: the image is resized to 264 x 264 and cut into 16 x 16 every 8 pixels, so that SAM's kernels fit.
    SAM's table of 64 x 64 positions is halved by a convolution.

    Args:
        size: of the network.
        side: of the image, a power of two times 32.
    """

    def __init__(self, size: SamSize, side: int) -> None:
        super().__init__(size, (GRID, GRID), make_block, (TABLE, TABLE))
        width = size.width
        self.patch_embed.proj = nn.Conv2d(3, width, PATCH, stride=PATCH // 2)
        self.cnn_embed = SideBranch(width, halvings(side, GRID))
        self.post_pos_embed = PositionUnits(width, halvings(TABLE, GRID))
        self.input_Adapter = Bottleneck(width)

    def embed(self, images: Tensor) -> Tensor:
        resized = functional.interpolate(images, (RESIZED, RESIZED), mode="bilinear", align_corners=False)
        grid = self.patch_embed(resized).permute(0, 2, 3, 1)
        return grid + self.input_Adapter(grid) + self.post_pos_embed(self.pos_embed)

    def forward(self, images: Tensor, keep: Container[int] = ()) -> Encoded:
        """As `ImageEncoder`; half of the branch joins the tokens before the neck."""
        grid, branch, layers = self.embed(images), self.cnn_embed(images), []
        for number, block in enumerate(self.blocks):
            if isinstance(block, BranchedBlock):
                grid, branch = block.read(grid, branch)
            else:
                grid = block(grid)
            if number in keep:
                layers.append(grid)
        return Encoded(self.neck(grid.permute(0, 3, 1, 2) + EXIT_SCALE * branch), layers)


def halvings(side: int, target: int) -> int:
    """How often `side` has to be halved to become `target`.

    Raises:
        ValueError: no number of times does it.
    """
    times = (side // target).bit_length() - 1
    if times < 0 or target * 2**times != side:
        raise ValueError(f"a side of {side} is not {target} times a power of two")
    return times
