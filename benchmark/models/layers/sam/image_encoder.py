"""SAM's image encoder: a vision transformer with windows, decomposed relative positions and a convolutional neck.

Paper: Kirillov et al., "Segment Anything" (2023), after Li et al., "Exploring Plain ViT Backbones" (2022). Released:
facebookresearch/segment-anything at dca509f (Apache-2.0); state-dict keys are its own. Token grids are
[B, rows, columns, width]. Networks of the family replace a part: the block (a callable given to `ImageEncoder`), its
methods `attended` and `transformed`, a projection inside it (`lora.add_lora`), or the encoder's `embed`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.channel_norm import ChannelNorm
from benchmark.models.layers.sam.sizes import PATCH, SamSize
from benchmark.models.layers.windows import from_windows, to_windows

EPS = 1e-6  # of every norm in the encoder


class Perceptron(nn.Module):
    """Two linear layers with an activation between; GELU in the encoder, ReLU in the decoder."""

    def __init__(self, width: int, hidden: int, activation: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.activation = activation()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.lin2(self.activation(self.lin1(tokens)))


class RelativeAttention(nn.Module):
    """Attention over a whole grid: q·k / √d + q·H[row - row'] + q·W[column - column'], tables shared by the heads.

    Args:
        width, heads: divisible.
        area: rows and columns of the grids that it is given, which the tables fit.
    """

    tables = ("rel_pos_h", "rel_pos_w")  # names of the parameters, [2 side - 1, width / heads]

    def __init__(self, width: int, heads: int, area: Sequence[int]) -> None:
        super().__init__()
        self.heads = heads
        for name, side in zip(self.tables, area, strict=True):
            self.register_parameter(name, nn.Parameter(torch.zeros(2 * side - 1, width // heads)))
        self.qkv: nn.Module = nn.Linear(width, 3 * width)  # low-rank updates wrap it
        self.proj = nn.Linear(width, width)

    def table(self, name: str, side: int) -> Tensor:
        """[2 side - 1, d]: one of the tables, for that side of the grid at hand."""
        return getattr(self, name)

    def forward(self, grid: Tensor) -> Tensor:
        projected = self.qkv(grid).unflatten(-1, (3, self.heads, -1))
        query, key, value = projected.permute(3, 0, 4, 1, 2, 5).unbind(0)  # [B, heads, rows, columns, d]
        rows, columns = map(_by_offset, map(self.table, self.tables, grid.shape[1:3]))
        # The products with the tables are further entries of a query, which meet a one of the key where its place is.
        # So no score is held: at 64 × 64 tokens all of them, with gradients, take gigabytes.
        by_row = torch.einsum("bhrcd,rkd->bhrck", query, rows)
        by_column = torch.einsum("bhrcd,ckd->bhrck", query, columns)
        query = torch.cat([query * query.shape[-1] ** -0.5, by_row, by_column], dim=-1)
        key = torch.cat([key, _places(key)], dim=-1)
        padded = functional.pad(value, (0, query.shape[-1] - value.shape[-1]))  # kernels want one width of all three
        attended = functional.scaled_dot_product_attention(
            query.flatten(2, 3), key.flatten(2, 3), padded.flatten(2, 3), scale=1.0
        )[..., : value.shape[-1]]
        return self.proj(attended.transpose(1, 2).flatten(2).view_as(grid))


def _by_offset(table: Tensor) -> Tensor:
    """[2 side - 1, d] -> [side, side, d]: the row of `table` for each place of a query and of a key."""
    place = torch.arange((table.shape[0] + 1) // 2, device=table.device)
    return table[place[:, None] - place[None] + len(place) - 1]


def _places(tokens: Tensor) -> Tensor:
    """[B, heads, rows, columns, d] -> the same but rows + columns at the end: ones at each token's row and column."""
    rows, columns = (torch.eye(side, dtype=tokens.dtype, device=tokens.device) for side in tokens.shape[2:4])
    grid = [rows[:, None].expand(-1, len(columns), -1), columns[None].expand(len(rows), -1, -1)]
    return torch.cat(grid, dim=-1).expand(*tokens.shape[:2], -1, -1, -1)


def in_windows(function: Callable[[Tensor], Tensor], grid: Tensor, window: int | None) -> Tensor:
    """`function` of each window of a grid, which is padded with zeros behind both axes where windows do not divide it.

    Args:
        function: keeps the shape [windows, window, window, width] of what it is given.
        window: its side; None is one window of the grid's own shape.
    """
    if window is None:
        return function(grid)
    rows, columns = grid.shape[1:3]
    padded = functional.pad(grid, (0, 0, 0, -columns % window, 0, -rows % window))[:, None]
    cut = to_windows(padded, (1, window, window))
    result = function(cut.flatten(0, 1).unflatten(1, (window, window)))
    joined = from_windows(result.view_as(cut), (1, window, window), padded.shape[1:4])
    return joined[:, 0, :rows, :columns]


class Block(nn.Module):
    """Attention and a perceptron, both pre-normalised and residual.

    Args:
        width, heads: divisible.
        grid: rows and columns of tokens.
        window: side of the windows; None for attention over the whole grid.
    """

    attention = RelativeAttention

    def __init__(self, width: int, heads: int, grid: Sequence[int], window: int | None) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = self.attention(width, heads, (window, window) if window else grid)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = Perceptron(width, 4 * width)

    def forward(self, grid: Tensor) -> Tensor:
        grid = grid + self.attended(grid)
        return grid + self.transformed(self.norm2(grid))

    def attended(self, grid: Tensor) -> Tensor:
        """The first residual. Padding comes after the norm and is not masked: padded tokens enter as zeros."""
        return in_windows(self.attn, self.norm1(grid), self.window)

    def transformed(self, normalised: Tensor) -> Tensor:
        """The second residual, of the normalised grid."""
        return self.mlp(normalised)


def make_neck(width: int, channels: int) -> nn.Sequential:
    """[B, width, rows, columns] -> [B, channels, rows, columns], normalised."""
    return nn.Sequential(
        nn.Conv2d(width, channels, 1, bias=False),
        ChannelNorm(channels),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        ChannelNorm(channels),
    )


class PatchEmbedding(nn.Module):
    """Images [B, 3, H, W] -> [B, width, H / 16, W / 16]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, stride=PATCH)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images)


class Encoded(NamedTuple):
    """What an image encoder gives.

    Attributes:
        embedding: [B, channels, rows, columns].
        layers: outputs of the blocks that were to be kept, in order of depth, [B, rows, columns, width] each.
    """

    embedding: Tensor
    layers: list[Tensor]


class ImageEncoder(nn.Module):
    """Normalised images [B, 3, H, W] of the built shape -> `Encoded`.

    Args:
        size: of the network.
        grid: rows and columns of tokens.
        block: makes a block from width, heads, grid and window (None in the global blocks).
        positions: rows and columns of the table of absolute positions, where they are not the grid's.
    """

    def __init__(
        self,
        size: SamSize,
        grid: Sequence[int],
        block: Callable[[int, int, Sequence[int], int | None], nn.Module] = Block,
        positions: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, *(positions or grid), size.width))
        self.patch_embed = PatchEmbedding(size.width)
        windows = [None if number in size.global_blocks else size.window for number in range(size.depth)]
        self.blocks = nn.ModuleList(block(size.width, size.heads, tuple(grid), window) for window in windows)
        self.neck = make_neck(size.width, size.channels)

    def embed(self, images: Tensor) -> Tensor:
        """Tokens [B, rows, columns, width] with their positions, as the first block takes them."""
        return self.patch_embed(images).permute(0, 2, 3, 1) + self.pos_embed

    def forward(self, images: Tensor, keep: Container[int] = ()) -> Encoded:
        """`keep`: numbers (from 0) of the blocks whose outputs are returned too."""
        grid, layers = self.embed(images), []
        for number, block in enumerate(self.blocks):
            grid = block(grid)
            if number in keep:
                layers.append(grid)
        return Encoded(self.neck(grid.permute(0, 3, 1, 2)), layers)
