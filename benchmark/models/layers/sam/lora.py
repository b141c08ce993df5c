"""Low-rank updates of the queries and values in SAM's image encoder, as SAMed (hitachinsk/SAMed at e351840, MIT)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from benchmark.models.layers.sam.image_encoder import ImageEncoder, RelativeAttention


class LowRankQueryValue(nn.Module):
    """A joint projection to queries, keys and values, plus B·A of the input on queries and values, without a scale.

    Args:
        qkv: the projection, width -> 3 width.
        rank: of both updates; B starts at zero, so that nothing changes at first.
    """

    def __init__(self, qkv: nn.Linear, rank: int) -> None:
        super().__init__()
        width = qkv.in_features
        self.qkv = qkv
        self.linear_a_q, self.linear_b_q = nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=False)
        self.linear_a_v, self.linear_b_v = nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=False)
        for down, up in ((self.linear_a_q, self.linear_b_q), (self.linear_a_v, self.linear_b_v)):
            nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
            nn.init.zeros_(up.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.qkv(tokens).chunk(3, dim=-1)
        query = query + self.linear_b_q(self.linear_a_q(tokens))
        value = value + self.linear_b_v(self.linear_a_v(tokens))
        return torch.cat([query, key, value], dim=-1)


def add_lora(encoder: ImageEncoder, rank: int) -> None:
    """Wrap the projection of every block, in place. Its key `attn.qkv` becomes `attn.qkv.qkv`."""
    for attention in [part for part in encoder.blocks.modules() if isinstance(part, RelativeAttention)]:
        assert isinstance(attention.qkv, nn.Linear)  # wrapped once
        attention.qkv = LowRankQueryValue(attention.qkv, rank)
