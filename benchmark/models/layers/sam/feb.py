"""MoE-SAM's feature enhancing block: experts choose tokens of all encoder layers, which then attend to each other.

Paper: MoE-SAM, section 2 (equations 2 to 6). Released: Asphyxiate-Rye/E-SAM @f405c27 (MIT); keys are its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.channel_norm import ChannelNorm
from benchmark.models.layers.sam.image_encoder import make_neck
from benchmark.models.layers.sam.mask_decoder import HEADS, TokenAttention, make_upscaling
from benchmark.models.layers.sam.sizes import SamSize

TOP_K = 1176  # tokens per expert and image: half of 12 layers of 14 x 14 tokens, a literal of the release


class Router(nn.Module):
    """Preference of each expert for each token, and the scale of the noise on it."""

    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.topkroute_linear = nn.Linear(width, experts)
        self.noise_linear = nn.Linear(width, experts)

    def forward(self, tokens: Tensor, draw: Tensor | None) -> Tensor:
        """[G, T, width] and a standard normal draw [G, T, experts] or None -> [G, T, experts] in float32.

        Gates are near 1e-4, below the resolution of half precision beside 1, hence float32 under autocast as well.
        """
        with nullcontext() if tokens.is_meta else torch.autocast(tokens.device.type, enabled=False):
            logits = in_float32(self.topkroute_linear, tokens)
            if draw is None:
                return logits
            return logits + draw * functional.softplus(in_float32(self.noise_linear, tokens))


def in_float32(layer: nn.Linear, tokens: Tensor) -> Tensor:
    tokens = tokens if tokens.dtype == torch.float64 else tokens.float()
    return functional.linear(tokens, layer.weight.to(tokens), layer.bias.to(tokens))


class Expert(nn.Module):
    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        layers = [nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width), nn.Dropout(dropout)]
        self.net = nn.Sequential(*layers)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.net(tokens)


class ExpertChoice(nn.Module):
    """Each expert takes its k favourite tokens of a group; what it makes of them is added to them, weighted.

    The weights of an expert are a softmax over its k tokens, so they sum to 1 over the group. A token is taken by none
    to all of the experts, and keeps its own value (a residual that the release has and the paper's Eq. 6 lacks).

    Args:
        width: of a token.
        experts: their number.
        top_k: tokens per expert: an int for each image of a group, limited to the tokens that there are; a float up to
            1.0 as a share of them. The release has 1176 and the paper half of all tokens, which is the same for 12
            layers of 14 x 14 tokens (224 pixels); at 256 pixels, 1176 is 38.3 % of them.
        top_k_batch: the images that a whole `top_k` is multiplied by, whatever the number in the group: the release
            fixes k from the configured batch size. None: the images that there are.
        noise_at_test: draw the routing noise in evaluation mode too, as the release does. Predictions are random then.
        dropout: on what experts give.
    """

    def __init__(
        self,
        width: int,
        *,
        experts: int = 4,
        hidden: int | None = None,
        top_k: int | float = TOP_K,
        top_k_batch: int | None = None,
        noise_at_test: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if top_k <= 0 or (isinstance(top_k, float) and top_k > 1):
            raise ValueError(f"top_k is a whole number of tokens, or a share of them up to 1.0, not {top_k}")
        self.top_k, self.top_k_batch, self.noise_at_test = top_k, top_k_batch, noise_at_test
        self.router = Router(width, experts)
        self.experts = nn.ModuleList(Expert(width, hidden or 4 * width, dropout) for _ in range(experts))

    def tokens_per_expert(self, tokens: int, images: int) -> int:
        """k for a group of so many tokens, of so many images."""
        if isinstance(self.top_k, float):
            return max(1, int(self.top_k * tokens))
        return min(tokens, self.top_k * (self.top_k_batch or images))

    def route(self, tokens: Tensor, images: int, draw: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """[G, T, width] -> the chosen tokens of each expert and their weights, both [G, experts, k]."""
        preferences = self.router(tokens, draw).transpose(1, 2)
        values, indices = preferences.topk(self.tokens_per_expert(tokens.shape[1], images), dim=2)
        return indices, values.softmax(dim=2)

    def forward(self, tokens: Tensor, images: int = 1, draw: Tensor | None = None) -> Tensor:
        """Groups of tokens [G, T, width] of `images` images each -> the same shape.

        `draw`: standard normal [G, T, experts]; None draws it in training mode, or always with `noise_at_test`.
        """
        if draw is None and (self.training or self.noise_at_test):
            draw = torch.randn(*tokens.shape[:2], len(self.experts), device=tokens.device)
        indices, gates = self.route(tokens, images, draw)
        starts = torch.arange(tokens.shape[0], device=tokens.device)[:, None] * tokens.shape[1]
        result = flat = tokens.flatten(0, 1)
        for number, expert in enumerate(self.experts):
            rows = (indices[:, number] + starts).flatten()
            weighted = gates[:, number].flatten()[:, None] * expert(flat[rows])
            result = result.index_add(0, rows, weighted.to(flat.dtype))
        return result.view_as(tokens)


class FeatureEnhancing(nn.Module):
    """Maps of all encoder layers -> an embedding [B, channels, rows, columns], to be added to the encoder's own.

    Experts choose among all tokens of the batch, layers and positions at once; then the tokens of an image attend to
    each other, all layers and positions in one sequence; their mean over the layers passes a neck like SAM's.

    Args:
        size: of the network.
        heads: of the attention.
        routing_at_test: "image" lets the tokens of each image compete among themselves in evaluation mode, so that a
            prediction does not depend on its neighbours; "batch" is the release.
        unused_layers: hold the 75,552 parameters (at full width) that the release has and never uses.
        **routing: of `ExpertChoice`.
    """

    def __init__(
        self,
        size: SamSize,
        *,
        heads: int = HEADS,
        routing_at_test: str = "image",
        unused_layers: bool = False,
        **routing: Any,
    ) -> None:
        super().__init__()
        if routing_at_test not in ("image", "batch"):
            raise ValueError(f"routing_at_test is image or batch, not {routing_at_test!r}")
        self.routing_at_test = routing_at_test
        self.neck5 = make_neck(size.width, size.channels)
        self.ExpertChoiceTokenMoE = ExpertChoice(size.width, **routing)
        self.attn = TokenAttention(size.width, size.width, heads)
        if unused_layers:
            self.moe_encoder = unused_upscaling(size.channels)
            self.norm = ChannelNorm(size.width)

    def forward(self, layers: Sequence[Tensor], draw: Tensor | None = None) -> Tensor:
        """layers: [B, rows, columns, width] each. `draw`: as `ExpertChoice`, in groups of the batch or of an image."""
        stacked = torch.stack(list(layers), dim=1)
        tokens = self.mix(stacked.flatten(1, 3), draw)
        attended = self.attn(tokens, tokens, tokens).view_as(stacked)
        return self.neck5(attended.mean(dim=1).permute(0, 3, 1, 2))

    def mix(self, tokens: Tensor, draw: Tensor | None = None) -> Tensor:
        """[B, T, width] after the experts, same shape."""
        alone = self.routing_at_test == "image" and not self.training
        groups = tokens if alone else tokens.flatten(0, 1)[None]
        return self.ExpertChoiceTokenMoE(groups, 1 if alone else len(tokens), draw).view_as(tokens)


def unused_upscaling(channels: int) -> nn.Sequential:
    """Like the decoder's, with a second norm."""
    return nn.Sequential(*list(make_upscaling(channels))[:-1], ChannelNorm(channels // 8))
