"""What is added to the blocks of SAM's image encoder: bottlenecks (MSA, MoE-SAM) and convolutions (SAM-Med2D)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.sam.image_encoder import Block, in_windows

SHARE = 4  # widths over hidden widths
SCALE = 0.5  # of the adapter beside the perceptron


class Bottleneck(nn.Module):
    """Two linear layers with GELU between, the hidden one a quarter as wide; no residual inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.D_fc1, self.D_fc2 = nn.Linear(width, width // SHARE), nn.Linear(width // SHARE, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.D_fc2(functional.gelu(self.D_fc1(tokens)))


class AdapterBlock(Block):
    """A block with a bottleneck after the attention and another beside the perceptron, as in MSA and MoE-SAM.

    Windows are cut before the norm, so that a padded token enters the attention as the norm's bias, not as zero.
    """

    def __init__(self, width: int, heads: int, grid: Sequence[int], window: int | None) -> None:
        super().__init__(width, heads, grid, window)
        self.Space_Adapter, self.MLP_Adapter = Bottleneck(width), Bottleneck(width)

    def attended(self, grid: Tensor) -> Tensor:
        return in_windows(self.adapted, grid, self.window)

    def adapted(self, window: Tensor) -> Tensor:
        """The first residual within windows, [windows, rows, columns, width]."""
        result = self.attn(self.norm1(window))
        return result + self.Space_Adapter(result)

    def transformed(self, normalised: Tensor) -> Tensor:
        return self.mlp(normalised) + SCALE * self.MLP_Adapter(normalised)


class ConvolutionAdapter(nn.Module):
    """SAM-Med2D's: a gate per channel, then down and up by strided convolutions, a residual sum and a norm.

    The norm's eps is 1e-5. A grid of odd sides comes back one row or column longer from the convolutions and is cut.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = width // SHARE
        self.channel = nn.Sequential(
            nn.Linear(width, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, width, bias=False), nn.Sigmoid()
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1, bias=False),
            nn.ReLU(),
        )
        self.norm = nn.LayerNorm(width)
        for weight in (*self.channel.parameters(), *self.spatial.parameters()):
            nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")

    def forward(self, grid: Tensor) -> Tensor:
        gated = grid * self.channel(grid.mean(dim=(1, 2), keepdim=True))
        rows, columns = grid.shape[1:3]
        moved = self.spatial(gated.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)[:, :rows, :columns]
        return self.norm(grid + moved)


class ConvolutionAdapterBlock(Block):
    """A block with SAM-Med2D's adapter beside the perceptron, on the whole grid also where attention has windows."""

    def __init__(self, width: int, heads: int, grid: Sequence[int], window: int | None) -> None:
        super().__init__(width, heads, grid, window)
        self.Adapter = ConvolutionAdapter(width)

    def transformed(self, normalised: Tensor) -> Tensor:
        return self.mlp(normalised) + self.Adapter(normalised)
