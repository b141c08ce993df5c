"""Attention inside windows of a 3-D grid (Liu et al. 2021, Swin Transformer), for features with channels last."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCKED = -100.0  # added to the scores of pairs from different regions, as in Swin


def to_windows(grid: Tensor, window: Sequence[int]) -> Tensor:
    """[B, D, H, W, C] -> [B, windows, tokens, C]; every side a multiple of its window."""
    batch, *shape, channels = grid.shape
    d, h, w = (side // length for side, length in zip(shape, window, strict=True))
    grid = grid.view(batch, d, window[0], h, window[1], w, window[2], channels)
    return grid.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, d * h * w, prod(window), channels)


def from_windows(windows: Tensor, window: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Inverse of `to_windows` for a grid of `shape`."""
    batch, channels = windows.shape[0], windows.shape[-1]
    d, h, w = (side // length for side, length in zip(shape, window, strict=True))
    grid = windows.view(batch, d, h, w, *window, channels)
    return grid.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(batch, *shape, channels)


def shift_mask(shape: Sequence[int], window: Sequence[int], shift: Sequence[int], like: Tensor) -> Tensor:
    """[windows, tokens, tokens]: 0 where two tokens of a cyclically shifted grid were neighbours before, else BLOCKED.

    Args:
        shape, window, shift: of the grid, per axis; a shift may be 0.
        like: a tensor of the device and type wanted.
    """
    region = torch.zeros((), device=like.device, dtype=torch.long)
    for axis, (side, length, step) in enumerate(zip(shape, window, shift, strict=True)):
        place = torch.arange(side, device=like.device)
        zone = (place >= side - length).long() + (place >= side - step).long()
        region = 3 * region + zone.view([-1 if other == axis else 1 for other in range(len(shape))])
    tokens = to_windows(region.expand(tuple(shape))[None, ..., None], window)[0, ..., 0]
    return BLOCKED * (tokens[:, :, None] != tokens[:, None, :]).to(like.dtype)


def relative_index(window: Sequence[int], strides: Sequence[int] | None = None) -> Tensor:
    """[tokens, tokens]: row of the bias table for each pair of tokens.

    Args:
        window: side per axis.
        strides: table rows per step along each axis; by default those of a full (2w - 1)^3 table.
    """
    spans = [2 * length - 1 for length in window]
    strides = strides or (spans[1] * spans[2], spans[2], 1)
    places = torch.stack(torch.meshgrid(*(torch.arange(length) for length in window), indexing="ij")).flatten(1)
    offsets = places[:, :, None] - places[:, None, :]
    return sum((offset + length - 1) * step for offset, length, step in zip(offsets, window, strides, strict=True))


def fit_window(side: int, window: int) -> tuple[int, int]:
    """Window and shift of a stage whose shortest side is `side`: one that is not larger gets one window, unshifted."""
    return min(side, window), window // 2 if side > window else 0


def attend_in_windows(
    attention: nn.Module,
    grid: Tensor,
    window: Sequence[int],
    shift: Sequence[int],
    queries: Tensor | None = None,
) -> Tensor:
    """Attention inside windows of a cyclically shifted grid, all of [B, D, H, W, C].

    Args:
        attention: a `WindowAttention`.
        grid: normalised features; zeros are put behind each axis that the windows do not divide.
        window, shift: per axis; a shift may be 0.
        queries: of `grid`'s shape, for an attention with external queries.
    """
    depth, height, width = shape = grid.shape[1:4]
    missing = [-side % length for side, length in zip(shape, window, strict=True)]
    padded = [side + more for side, more in zip(shape, missing, strict=True)]
    axes, back = (1, 2, 3), [-step for step in shift]
    mask = shift_mask(padded, window, shift, grid) if any(shift) else None

    def cut(grid: Tensor) -> Tensor:
        if any(missing):
            grid = functional.pad(grid, (0, 0, 0, missing[2], 0, missing[1], 0, missing[0]))
        return to_windows(grid.roll(back, axes) if any(shift) else grid, window)

    attended = from_windows(attention(cut(grid), mask, None if queries is None else cut(queries)), window, padded)
    attended = attended.roll(list(shift), axes) if any(shift) else attended
    return attended[:, :depth, :height, :width]


class WindowAttention(nn.Module):
    """Multi-head attention inside each window, with a learned bias per relative position.

    Shape: [B, windows, tokens, channels] -> the same.

    Args:
        channels, heads: divisible.
        window: tokens per axis.
        qkv_bias: of the joint query-key-value projection.
        index_strides: see `relative_index`.
        external_queries: project only keys and values; the queries come unprojected to `forward`.
    """

    relative_position_index: Tensor

    def __init__(
        self,
        channels: int,
        heads: int,
        window: Sequence[int],
        *,
        qkv_bias: bool = True,
        index_strides: Sequence[int] | None = None,
        external_queries: bool = False,
    ):
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels cannot be divided among {heads} heads")
        self.heads, self.external_queries = heads, external_queries
        if external_queries:
            self.kv = nn.Linear(channels, 2 * channels, bias=qkv_bias)
        else:
            self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)
        rows = prod(2 * length - 1 for length in window)
        self.relative_position_bias_table = nn.Parameter(torch.empty(rows, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_index(window, index_strides))

    def _split(self, projected: Tensor) -> tuple[Tensor, ...]:
        """[B, windows, tokens, n * channels] -> n tensors [B, windows, heads, tokens, channels per head]."""
        parts = projected.shape[-1] // (self.proj.in_features)
        return projected.unflatten(-1, (parts, self.heads, -1)).permute(3, 0, 1, 4, 2, 5).unbind(0)

    def forward(self, windows: Tensor, mask: Tensor | None = None, queries: Tensor | None = None) -> Tensor:
        if self.external_queries:
            if queries is None:
                raise ValueError("an attention with external queries projects none of its own")
            (query,), (key, value) = self._split(queries), self._split(self.kv(windows))
        else:
            query, key, value = self._split(self.qkv(windows))
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        # The fused kernels want four dimensions: windows join the batch, or the heads where the mask differs by window.
        first = 0 if mask is None else 1
        if mask is not None:
            bias = (bias + mask[:, None]).flatten(0, 1)
        attended = functional.scaled_dot_product_attention(
            query.flatten(first, first + 1),
            key.flatten(first, first + 1),
            value.flatten(first, first + 1),
            attn_mask=bias[None].to(query.dtype),
        )
        attended = attended.unflatten(first, query.shape[first : first + 2])
        return self.proj(attended.transpose(2, 3).flatten(3))
