"""What transformers share: the perceptron of a block, how linear layers start, and rates of stochastic depth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Perceptron(nn.Module):
    """Two linear layers with GELU between, the hidden one `ratio` times as wide."""

    def __init__(self, channels: int, ratio: float = 4) -> None:
        super().__init__()
        hidden = int(ratio * channels)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(features)))


def init_linear(module: nn.Module) -> None:
    """Truncated normal weights and zero biases of a linear layer; others stay as they are. For `Module.apply`."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def stage_rates(first: float, last: float, depths: Sequence[int]) -> list[list[float]]:
    """Rates of stochastic depth that change linearly over all blocks, one list per stage."""
    rates = torch.linspace(first, last, sum(depths), device="cpu")
    return [part.tolist() for part in rates.split(list(depths))]
