"""The transformer block of Swin-like networks, on maps [B, H, W, C] and volumes [B, D, H, W, C] with channels last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynamic_network_architectures.building_blocks.regularization import DropPath
from torch import Tensor, nn

from benchmark.models.layers.transformer import Perceptron
from benchmark.models.layers.windows import WindowAttention, attend_in_windows


class BlockParts(nn.Module):
    """What the two blocks below are made of.

    Where the window does not divide the grid, the normalised grid is padded with zeros behind each axis.

    Args:
        channels, heads: divisible.
        window, shift: per axis; (1, h, w) and (0, h, w) for maps.
        drop_path: rate of stochastic depth.
        eps: of both norms.
        feed_forward: module on the grid; a plain perceptron by default.
        **attention: of `WindowAttention`.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        window: Sequence[int],
        shift: Sequence[int],
        drop_path: float,
        eps: float = 1e-5,
        feed_forward: nn.Module | None = None,
        **attention: Any,
    ) -> None:
        super().__init__()
        self.window, self.shift = tuple(window), tuple(shift)
        self.norm1 = nn.LayerNorm(channels, eps=eps)
        self.attn = WindowAttention(channels, heads, self.window, **attention)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(channels, eps=eps)
        self.mlp = feed_forward or Perceptron(channels)

    def attend(self, grid: Tensor, queries: Tensor | None = None) -> Tensor:
        """Attention of normalised features; `queries` goes to an attention module that does not project its own."""
        if grid.dim() == 5:
            return attend_in_windows(self.attn, grid, self.window, self.shift, queries)
        queries = None if queries is None else queries.unsqueeze(1)
        return attend_in_windows(self.attn, grid.unsqueeze(1), self.window, self.shift, queries).squeeze(1)


class WindowBlock(BlockParts):
    """Attention in (shifted) windows, then a feed-forward module, both pre-normalised and residual.

    Built as `BlockParts`.
    """

    def forward(self, grid: Tensor, *route: Sequence[int]) -> Tensor:
        """`route` goes to the feed-forward module."""
        grid = grid + self.drop_path(self.attend(self.norm1(grid)))
        return grid + self.drop_path(self.mlp(self.norm2(grid), *route))


class CrossBlock(BlockParts):
    """A block whose queries are the up-sampled features, unprojected, and whose keys and values come from the skip.

    Args:
        channels, heads, **options: of `BlockParts`.
    """

    def __init__(self, channels: int, heads: int, **options: Any) -> None:
        super().__init__(channels, heads, external_queries=True, **options)

    def forward(self, upsampled: Tensor, skip: Tensor) -> Tensor:
        attended = self.attend(self.norm1(skip), self.norm1(upsampled))
        grid = upsampled + skip + self.drop_path(attended)
        return grid + self.drop_path(self.mlp(self.norm2(grid)))
