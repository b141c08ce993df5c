"""Changes of resolution in Swin-like networks, on maps with channels last [B, H, W, C].

Sources: Liu et al., "Swin Transformer" (embedding, merging); Cao et al., "Swin-Unet" (expanding). Keys are theirs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Image [B, in_channels, H, W] -> [B, H / patch, W / patch, channels]."""

    def __init__(self, in_channels: int, channels: int, patch: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, patch, stride=patch)
        self.norm = nn.LayerNorm(channels, eps=eps)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(self.proj(image).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """[B, H, W, C] -> [B, H / 2, W / 2, 2 C], H and W even."""

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels, eps=eps)

    def forward(self, grid: Tensor) -> Tensor:
        corners = [grid[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


class PatchExpand(nn.Module):
    """[B, H, W, channels] -> [B, scale H, scale W, out_channels]."""

    def __init__(self, channels: int, out_channels: int, *, scale: int = 2, eps: float = 1e-5) -> None:
        super().__init__()
        self.scale = scale
        self.expand = nn.Linear(channels, scale**2 * out_channels, bias=False)
        self.norm = nn.LayerNorm(out_channels, eps=eps)

    def forward(self, grid: Tensor) -> Tensor:
        batch, height, width, _ = grid.shape
        pixels = self.expand(grid).unflatten(-1, (self.scale, self.scale, -1)).permute(0, 1, 3, 2, 4, 5)
        return self.norm(pixels.reshape(batch, height * self.scale, width * self.scale, -1))
