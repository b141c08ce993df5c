"""UNesT (Yu et al. 2023, "UNesT: Local Spatial Representation Learning with Hierarchical Transformer ...", MedIA).

Facts: MASILab/UNesT at 75386be (MIT), `unest_base_patch_4.py` and its small and large siblings; parameter names are
the released ones, which the bundles of MONAI's model zoo share. Three nested levels of attention inside 64, 8 and 1
blocks, and UNETR's decoder.

As released: the heads of an attention output are interleaved (head innermost), unlike the usual concatenation; the
stochastic depth of 0.5 is hard-coded; convolutions keep PyTorch's initialisation, since the rule names 2-D ones only.

Position tables hold one vector per token, so a network serves inputs up to the `spatial_shape` it was built for
(rounded up to multiples of 32; smaller ones are zero-padded at the end and cropped again). The release hard-codes 96^3
and one channel. `load_released` resizes the tables of another shape trilinearly over the grid and reports it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
from dynamic_network_architectures.building_blocks.regularization import DropPath
from monai.networks.blocks import Convolution, UnetOutBlock
from monai.networks.blocks.dynunet_block import get_conv_layer
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.checkpointing import maybe_checkpoint
from benchmark.models.layers.fit import crop_to_shape, pad_to_shape, round_up
from benchmark.models.layers.transformer import Perceptron, init_linear, stage_rates
from benchmark.models.layers.unetr_blocks import unetr_block, unetr_up_block
from benchmark.models.layers.windows import from_windows, to_windows
from benchmark.models.registry import register

PATCH, DIVISOR, EPSILON = 4, 32, 1e-6
BLOCKS = (4, 2, 1)  # per axis and level
SIZES = {"small": ((64, 128, 256), (2, 2, 8), (2, 4, 8)), "base": ((128, 256, 512), (2, 2, 8), (4, 8, 16))}
SIZES["large"] = ((192, 384, 768), (2, 2, 20), (6, 12, 24))  # widths, depths, heads


class BlockAttention(nn.Module):
    """Self-attention inside blocks, [B, blocks, tokens, channels]; heads interleaved in the output."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        projected = self.qkv(tokens).flatten(0, 1).unflatten(-1, (3, self.heads, -1))
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind(0)
        attended = functional.scaled_dot_product_attention(query, key, value)  # [B * blocks, heads, tokens, rest]
        return self.proj(attended.permute(0, 2, 3, 1).reshape(tokens.shape))


class Transformer(nn.Module):
    """Attention and perceptron, pre-normalised and residual."""

    def __init__(self, channels: int, heads: int, drop: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=EPSILON)
        self.attn = BlockAttention(channels, heads)
        self.drop_path = DropPath(drop)
        self.norm2 = nn.LayerNorm(channels, eps=EPSILON)
        self.mlp = Perceptron(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))


class Aggregation(nn.Module):
    """Between levels: convolution, LayerNorm over channels, max-pooling of stride 2."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.LayerNorm(out_channels, eps=EPSILON)

    def forward(self, features: Tensor) -> Tensor:
        features = self.norm(self.conv(features).movedim(1, -1)).movedim(-1, 1)
        return functional.max_pool3d(features, 3, stride=2, padding=1)


class Level(nn.Module):
    """Cut into blocks, add positions, attend, put together; channels first at both ends."""

    def __init__(
        self, channels: int, heads: int, drops: Sequence[float], block: Sequence[int], blocks: int, before: int | None
    ):
        super().__init__()
        self.block = tuple(block)
        self.pos_embed = nn.Parameter(torch.empty(1, blocks**3, prod(block), channels))
        if before is not None:
            self.pool = Aggregation(before, channels)
        self.transformer_encoder = nn.Sequential(*(Transformer(channels, heads, drop) for drop in drops))
        self.aggregates = before is not None

    def forward(self, features: Tensor) -> Tensor:
        if self.aggregates:
            features = self.pool(features)
        grid = features.movedim(1, -1)
        tokens = self.transformer_encoder(to_windows(grid, self.block) + self.pos_embed)
        return from_windows(tokens, self.block, grid.shape[1:4]).movedim(-1, 1)


class PatchEmbedding(nn.Module):
    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.proj = nn.Conv3d(in_channels, channels, PATCH, stride=PATCH)

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(image)


class NestedTransformer(nn.Module):
    """Returns the patch embedding, the outputs of the three levels, and the last one normalised; from 1/4 to 1/16."""

    def __init__(
        self,
        in_channels: int,
        shape: Sequence[int],
        widths: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int],
        drop_path: float,
    ):
        super().__init__()
        self.patch_embed = PatchEmbedding(in_channels, widths[0])
        rates = stage_rates(0, drop_path, depths)
        self.block = tuple(side // (PATCH * BLOCKS[0]) for side in shape)  # the same at every level
        self.levels = nn.ModuleList(
            Level(
                widths[level],
                heads[level],
                rates[level],
                self.block,
                BLOCKS[level],
                widths[level - 1] if level else None,
            )
            for level in range(len(BLOCKS))
        )
        self.norm = nn.LayerNorm(widths[-1], eps=EPSILON)

    def forward(self, image: Tensor, checkpointing: bool) -> list[Tensor]:
        outputs = [self.patch_embed(image)]
        for level in self.levels:
            outputs.append(maybe_checkpoint(checkpointing, level, outputs[-1]))
        return [*outputs, self.norm(outputs[-1].movedim(1, -1)).movedim(-1, 1)]


class PatchUpsample(nn.Module):
    """Transposed convolution of stride 2, then one of side 1."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.transp_conv_init = get_conv_layer(
            3, in_channels, out_channels, kernel_size=2, stride=2, conv_only=True, is_transposed=True
        )
        last = get_conv_layer(
            3, out_channels, out_channels, kernel_size=1, stride=1, conv_only=True, is_transposed=True
        )
        self.blocks = nn.ModuleList([last])

    def forward(self, features: Tensor) -> Tensor:
        return self.blocks[0](self.transp_conv_init(features))


def _initialise(module: nn.Module) -> None:
    init_linear(module)
    if isinstance(module, Level):
        nn.init.trunc_normal_(module.pos_embed, std=0.02)


@register("unest", demo={"widths": (16, 32, 64), "depths": (1, 1, 2), "heads": (1, 2, 4)})
class UNesT(nn.Module):
    """[B, in_channels, *S] -> [B, out_channels, *S] for S up to the shape it was built for.

    Args:
        in_channels, out_channels: image channels; classes including background.
        spatial_shape: largest input; sides are raised to multiples of 32.
        size: small, base or large (22.4, 87.2, 279.5 M parameters at 96^3).
        widths, depths, heads: three numbers each that replace those of `size`.
        drop_path: largest rate of stochastic depth.
        checkpointing: recompute the activations of every level and convolutional block in the backward pass.

    Raises:
        ValueError: unknown size, or widths that do not divide.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        size: Literal["small", "base", "large"] = "base",
        widths: Sequence[int] | None = None,
        depths: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        drop_path: float = 0.5,
        checkpointing: bool = False,
    ):
        super().__init__()
        if size not in SIZES:
            raise ValueError(f"unknown size {size!r}; known: {', '.join(SIZES)}")
        widths, depths, heads = (own or usual for own, usual in zip((widths, depths, heads), SIZES[size], strict=True))
        if any(width % count for width, count in zip(widths, heads, strict=True)) or widths[0] % 4:
            raise ValueError(f"widths {tuple(widths)} must be divisible by heads {tuple(heads)}, the first also by 4")
        self.shape = round_up(spatial_shape, (DIVISOR,) * 3, several=True)
        self.checkpointing = checkpointing
        self.nestViT = NestedTransformer(in_channels, self.shape, widths, depths, heads, drop_path)
        self.nestViT.apply(_initialise)
        first = widths[0] // 4
        self.encoder1 = unetr_block(3, in_channels, first)
        self.encoder2 = PatchUpsample(widths[0], 2 * first)
        self.encoder3 = unetr_block(3, widths[0], widths[0])
        self.encoder4 = unetr_block(3, widths[1], widths[1])
        self.encoder10 = Convolution(
            spatial_dims=3,
            in_channels=widths[2],
            out_channels=2 * widths[2],
            strides=2,
            adn_ordering="ADN",
            dropout=0.0,
        )
        self.decoder5 = unetr_up_block(3, 2 * widths[2], widths[2])
        self.decoder4 = unetr_up_block(3, widths[2], widths[1])
        self.decoder3 = unetr_up_block(3, widths[1], widths[0])
        self.decoder2 = unetr_up_block(3, widths[0], 2 * first)
        self.decoder1 = unetr_up_block(3, 2 * first, first)
        self.out = UnetOutBlock(spatial_dims=3, in_channels=first, out_channels=out_channels)

    def _run(self, block: nn.Module, *features: Tensor) -> Tensor:
        return maybe_checkpoint(self.checkpointing, block, *features)

    def forward(self, image: Tensor) -> Tensor:
        padded = pad_to_shape(image, self.shape)
        patches, quarter, eighth, deepest, normalised = self.nestViT(padded, self.checkpointing)
        features = self._run(self.decoder5, self.encoder10(normalised), deepest)
        features = self._run(self.decoder4, features, self._run(self.encoder4, eighth))
        features = self._run(self.decoder3, features, self._run(self.encoder3, quarter))
        features = self._run(self.decoder2, features, self._run(self.encoder2, patches))
        features = self._run(self.decoder1, features, self._run(self.encoder1, padded))
        return crop_to_shape(self.out(features), self.shape, image.shape[2:])

    def adapt_released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Resize position tables that belong to another cube."""
        adapted = dict(state)
        for index in range(len(BLOCKS)):
            key = f"nestViT.levels.{index}.pos_embed"
            if key in state:
                adapted[key] = self._resize_positions(state[key], index)
        return adapted

    def _resize_positions(self, table: Tensor, level: int) -> Tensor:
        block = self.nestViT.block
        side = round(table.shape[2] ** (1 / 3))  # the released networks are cubic
        if table.shape[2] == prod(block) or side**3 != table.shape[2]:
            return table
        grid = from_windows(table, (side,) * 3, (side * BLOCKS[level],) * 3).movedim(-1, 1)
        size = [length * BLOCKS[level] for length in block]
        grid = functional.interpolate(grid.float(), size=size, mode="trilinear", align_corners=False)
        return to_windows(grid.movedim(1, -1), block)
