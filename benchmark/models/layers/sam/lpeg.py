"""MoE-SAM's lightweight prompt embedding generator: one prompt token per image, made of its embedding.

Paper: MoE-SAM, section 2, which has pooling, linear, GELU, linear. Released: Asphyxiate-Rye/E-SAM @f405c27 (MIT), which
has what is here; state-dict keys are its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.channel_norm import ChannelNorm
from benchmark.models.layers.sam.prompt_encoder import PromptEncoder, Prompts

HIDDEN = 16


class SelfPromptEncoder(PromptEncoder):
    """SAM's prompt encoder, and `self_prompt`, which asks for nothing.

    Args:
        channels, grid, pixels: as `PromptEncoder`.
        hidden: width between the two linear layers.
    """

    def __init__(self, channels: int, grid: Sequence[int], pixels: Sequence[int], hidden: int = HIDDEN) -> None:
        super().__init__(channels, grid, pixels)
        self.layernorm = nn.Sequential(ChannelNorm(channels), nn.GELU())
        self.fc1, self.fc2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def generator(self) -> tuple[nn.Module, ...]:
        """What SAM's prompt encoder does not have."""
        return self.layernorm, self.fc1, self.fc2

    def generate(self, embedding: Tensor) -> Tensor:
        """[B, channels, rows, columns] -> [B, 1, channels]."""
        pooled = self.layernorm(embedding).mean(dim=(2, 3))
        return self.fc2(functional.relu(self.fc1(pooled)))[:, None]

    def self_prompt(self, embedding: Tensor) -> Prompts:
        """The generated token, and the dense prompt of no mask."""
        return Prompts(self.generate(embedding), self().dense)
