"""SS2D, the two-dimensional selective scan of VMamba: four scans of one feature map.

Paper: Liu et al., "VMamba" (NeurIPS 2024); Swin-UMamba section 3.2. Released: JiarunLiu/Swin-UMamba at 2c1f72e,
`nets/SwinUMambaD.py` (Apache-2.0); state-dict keys are its own.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.models.layers.mamba import decay_logarithms, init_time_steps
from benchmark.models.layers.selective_scan import selective_scan

DIRECTIONS = 4


def cross_scan(grid: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, 4, C, H W]: by rows, by columns, and both backwards."""
    forwards = torch.stack([grid.flatten(2), grid.transpose(2, 3).flatten(2)], dim=1)
    return torch.cat([forwards, forwards.flip(-1)], dim=1)


def cross_merge(sequences: Tensor, height: int, width: int) -> Tensor:
    """[B, 4, C, H W] -> [B, C, H, W]: the four sequences put back in place and added."""
    rows, columns = (sequences[:, :2] + sequences[:, 2:].flip(-1)).unbind(1)
    return rows.unflatten(-1, (height, width)) + columns.unflatten(-1, (width, height)).transpose(2, 3)


class SS2D(nn.Module):
    """[B, H, W, channels] -> the same.

    One projection and depthwise convolution feed four scans with their own time steps, B, C, A and D; their sum is
    normalised, gated and projected back.

    Args:
        channels: of the map.
        state: size of a channel's hidden state.
        kernel: of the depthwise convolution, odd.
        expand: inner width over `channels`.
    """

    def __init__(self, channels: int, *, state: int = 16, kernel: int = 3, expand: int = 2) -> None:
        super().__init__()
        inner, self.rank, self.state = expand * channels, math.ceil(channels / 16), state
        self.in_proj = nn.Linear(channels, 2 * inner, bias=False)
        self.conv2d = nn.Conv2d(inner, inner, kernel, padding=kernel // 2, groups=inner)
        self.x_proj_weight = nn.Parameter(torch.empty(DIRECTIONS, self.rank + 2 * state, inner))
        self.dt_projs_weight = nn.Parameter(torch.empty(DIRECTIONS, inner, self.rank))
        self.dt_projs_bias = nn.Parameter(torch.empty(DIRECTIONS, inner))
        self.A_logs = nn.Parameter(decay_logarithms(DIRECTIONS * inner, state))
        self.Ds = nn.Parameter(torch.ones(DIRECTIONS * inner))
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, channels, bias=False)
        nn.init.uniform_(self.x_proj_weight, -(inner**-0.5), inner**-0.5)  # what nn.Linear would draw
        init_time_steps(self.dt_projs_weight, self.dt_projs_bias)

    def forward(self, grid: Tensor) -> Tensor:
        height, width = grid.shape[1:3]
        x, gate = self.in_proj(grid).chunk(2, dim=-1)
        x = F.silu(self.conv2d(x.permute(0, 3, 1, 2)))
        sequences = cross_scan(x)
        projected = torch.einsum("bkdl,kcd->bkcl", sequences, self.x_proj_weight)
        dt, B, C = projected.split([self.rank, self.state, self.state], dim=2)
        delta = torch.einsum("bkrl,kdr->bkdl", dt, self.dt_projs_weight)
        inside = torch.promote_types(sequences.dtype, torch.float32)  # the sum of four scans is taken in float32 too
        scanned = selective_scan(
            sequences.flatten(1, 2).to(inside),
            delta.flatten(1, 2).to(inside),
            -torch.exp(self.A_logs.to(inside)),
            B.to(inside),
            C.to(inside),
            self.Ds,
            delta_bias=self.dt_projs_bias.flatten(),
            delta_softplus=True,
        )
        merged = cross_merge(scanned.unflatten(1, (DIRECTIONS, -1)), height, width).to(self.out_norm.weight.dtype)
        return self.out_proj(self.out_norm(merged.permute(0, 2, 3, 1)) * F.silu(gate))
