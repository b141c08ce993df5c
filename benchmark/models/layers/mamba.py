"""The Mamba mixer of language models and its bidirectional form from Vision Mamba.

Papers: Gu and Dao, "Mamba" (2023), section 3.4; Zhu et al., "Vision Mamba" (ICML 2024), algorithm 1. Released files:
state-spaces/mamba `modules/mamba_simple.py` (Apache-2.0); hustvl/Vim, its fork of that file with `bimamba_type="v2"`
and `if_divide_out` (Apache-2.0). State-dict keys are theirs.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.models.layers.selective_scan import selective_scan

SHORTEST, SHORT, LONG = 1e-4, 1e-3, 1e-1  # floor and range of the time steps drawn at initialisation


@torch.no_grad()
def init_time_steps(weight: Tensor, bias: Tensor) -> None:
    """Uniform weights [..., inner, rank]; biases [..., inner] whose softplus is log-uniform between SHORT and LONG."""
    bound = weight.shape[-1] ** -0.5
    weight.uniform_(-bound, bound)
    steps = bias.uniform_(math.log(SHORT), math.log(LONG)).exp().clamp_(min=SHORTEST)
    bias.copy_(steps + torch.log(-torch.expm1(-steps)))


def decay_logarithms(channels: int, state: int) -> Tensor:
    """[channels, state]: log 1, log 2, ... (S4D-real), of which A is minus the exponential."""
    return torch.arange(1, state + 1, dtype=torch.float32).log().repeat(channels, 1)


class Mamba(nn.Module):
    """[B, L, channels] -> the same: gate, causal convolution and selective scan along L.

    Args:
        channels: of the tokens.
        state: size of a channel's hidden state.
        kernel: of the causal convolution.
        expand: inner width over `channels`.
        bidirectional: a second convolution and scan run from the end (Vim, "v2"); the two results are averaged.
    """

    conv1d: nn.Conv1d
    x_proj: nn.Linear
    dt_proj: nn.Linear
    conv1d_b: nn.Conv1d  # these three where bidirectional
    x_proj_b: nn.Linear
    dt_proj_b: nn.Linear

    def __init__(
        self, channels: int, *, state: int = 16, kernel: int = 4, expand: int = 2, bidirectional: bool = False
    ) -> None:
        super().__init__()
        self.inner, self.rank, self.bidirectional = expand * channels, math.ceil(channels / 16), bidirectional
        self.A_log, self.D = self._state_parameters(state)
        if bidirectional:
            self.A_b_log, self.D_b = self._state_parameters(state)
        self.in_proj = nn.Linear(channels, 2 * self.inner, bias=False)
        for suffix in ("", "_b") if bidirectional else ("",):
            convolution = nn.Conv1d(self.inner, self.inner, kernel, groups=self.inner, padding=kernel - 1)
            self.add_module(f"conv1d{suffix}", convolution)
            self.add_module(f"x_proj{suffix}", nn.Linear(self.inner, self.rank + 2 * state, bias=False))
            self.add_module(f"dt_proj{suffix}", nn.Linear(self.rank, self.inner))
        self.out_proj = nn.Linear(self.inner, channels, bias=False)
        init_time_steps(self.dt_proj.weight, self.dt_proj.bias)  # Vim leaves dt_proj_b as nn.Linear draws it

    def _state_parameters(self, state: int) -> tuple[nn.Parameter, nn.Parameter]:
        return nn.Parameter(decay_logarithms(self.inner, state)), nn.Parameter(torch.ones(self.inner))

    def forward(self, tokens: Tensor) -> Tensor:
        x, gate = self.in_proj(tokens).transpose(1, 2).chunk(2, dim=1)
        mixed = self._scan(x, gate, self.conv1d, self.x_proj, self.dt_proj, self.A_log, self.D)
        if self.bidirectional:
            back = x.flip(-1), gate.flip(-1), self.conv1d_b, self.x_proj_b, self.dt_proj_b, self.A_b_log, self.D_b
            mixed = (mixed + self._scan(*back).flip(-1)) / 2
        return self.out_proj(mixed.transpose(1, 2))

    def _scan(
        self, x: Tensor, gate: Tensor, conv: nn.Conv1d, x_proj: nn.Linear, dt_proj: nn.Linear, A_log: Tensor, D: Tensor
    ) -> Tensor:
        x = F.silu(conv(x)[..., : x.shape[-1]])
        state = A_log.shape[1]
        dt, B, C = x_proj(x.transpose(1, 2)).transpose(1, 2).split([self.rank, state, state], dim=1)
        delta = dt_proj.weight @ dt
        A = -torch.exp(A_log.float())
        return selective_scan(x, delta, A, B, C, D, gate, dt_proj.bias, delta_softplus=True)


class TokenMixer(nn.Module):
    """A mixer of token sequences applied to a grid [B, H, W, C], row after row (nothing is known of columns)."""

    def __init__(self, mixer: Mamba) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, grid: Tensor) -> Tensor:
        return self.mixer(grid.flatten(1, 2)).view_as(grid)
