"""H-SAM's two decoders: the class probabilities of the first one weight the attention of the second one.

Paper: Cheng et al., "H-SAM" (CVPR 2024). Released: Cccccczh404/H-SAM @5bdf491 (MIT); keys are its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.channel_norm import ChannelNorm
from benchmark.models.layers.sam.image_encoder import Perceptron
from benchmark.models.layers.sam.mask_decoder import (
    BlockParts,
    Head,
    Projections,
    TokenAttention,
    TwoWayBlock,
    TwoWayTransformer,
    attention_weights,
    make_upscaling,
    weigh,
)
from benchmark.models.layers.sam.sizes import SamSize

DROPOUT = 0.2  # of what tokens read from the image in the second decoder
UNUSED_NORMS = (196, 9, 1024)  # widths of norms that the release holds in every gated attention and never applies
HYPER_DEPTH = 5
NOISE = 0.2  # of the embedding's range, in training


class CrossFirstBlock(TwoWayBlock):
    """SAM's block with its first two steps exchanged: tokens read the image before they read each other."""

    def forward(self, tokens: Tensor, image: Tensor, token_code: Tensor, image_code: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + token_code, image + image_code, image))
        tokens = self.among_tokens(tokens, token_code)
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(image + image_code, tokens + token_code, tokens))
        return tokens, image


class GatedAttention(Projections):
    """Attention whose weights are multiplied after the softmax, and not brought back to a sum of one."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for width in UNUSED_NORMS)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, gate: Tensor) -> Tensor:
        """query [B, Q, C], key and value [B, K, C], gate [B, Q, K] for all heads -> [B, Q, C]."""
        query, key, value = self.split(query, key, value)
        weights = attention_weights(query, key) * gate[:, None]
        return self.out_proj((weights @ value).transpose(1, 2).flatten(2))


class GatedBlock(BlockParts):
    """As `CrossFirstBlock`, with gated cross attentions as wide as the tokens."""

    def __init__(self, channels: int, hidden: int, first: bool) -> None:
        super().__init__(channels, hidden, first)
        self.cross_attn_token_to_image = GatedAttention(channels)
        self.cross_attn_image_to_token = GatedAttention(channels)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(
        self, tokens: Tensor, image: Tensor, token_code: Tensor, image_code: Tensor, gate: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`gate`: [B, tokens, pixels]."""
        read = self.cross_attn_token_to_image(tokens + token_code, image + image_code, image, gate)
        tokens = self.among_tokens(self.norm2(tokens + self.dropout(read)), token_code)
        tokens = self.norm3(tokens + self.mlp(tokens))
        back = gate.transpose(1, 2)
        read = self.cross_attn_image_to_token(image + image_code, tokens + token_code, tokens, back)
        return tokens, self.norm4(image + read)


class GatedTransformer(TwoWayTransformer):
    """Two gated blocks and a last look of the tokens at the image, which is not gated; `forward` takes a gate."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__(channels, hidden, GatedBlock)


class SecondDecoder(nn.Module):
    """Embedding, gate and the first decoder's up-scaled map -> logits at image size.

    The release's "mask-guided self-attention" ends in a softmax over one channel. That map is 1 everywhere: it doubles
    the embedding, and nothing before it gets a gradient. Its parameters are held here and not computed with.

    Args:
        size: of the network.
        masks: M, classes with background.
        grid: rows and columns of the embedding; their product is the width of the inert attention.
        inert_hidden: of the inert perceptron.
    """

    def __init__(self, size: SamSize, masks: int, grid: Sequence[int], inert_hidden: int) -> None:
        super().__init__()
        channels, places = size.channels, grid[0] * grid[1]
        self.transformer2 = GatedTransformer(channels, size.decoder_hidden)
        self.mask_tokens = nn.Embedding(masks, channels)
        self.output_upscaling = make_upscaling(channels)
        self.skip_connect = nn.Sequential(
            nn.ConvTranspose2d(channels // 4, channels // 8, 2, stride=2),
            ChannelNorm(channels // 8),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 8, channels // 16, 2, stride=2),
            ChannelNorm(channels // 16),
            nn.GELU(),
        )
        heads = (Head(channels, channels, channels // 16, HYPER_DEPTH) for _ in range(masks))
        self.output_hypernetworks_mlps2 = nn.ModuleList(heads)
        self.iou_prediction_head = Head(channels, size.quality_hidden, masks)
        self.self_attn, self.self_attn2 = (TokenAttention(places, places) for _ in range(2))
        self.norm1, self.norm2 = nn.LayerNorm(places), nn.LayerNorm(places)
        self.mlp = Perceptron(places, inert_hidden, nn.ReLU)
        self.med_sel = nn.Sequential(nn.Linear(masks, 1))

    def forward(self, embedding: Tensor, code: Tensor, gate: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and qualities of all classes.

        Args:
            embedding: [B, C, rows, columns], the dense prompt added.
            code: of its places, [1, C, rows, columns].
            gate: class probabilities of the first decoder, [B, M, rows columns].
            skip: [B, C / 8, 4 rows, 4 columns].

        Returns:
            [B, M, 16 rows, 16 columns], and [B, M], read from the background's token for lack of another.
        """
        tokens = self.mask_tokens.weight.expand(len(embedding), -1, -1)
        image, code = (2 * embedding).flatten(2).transpose(1, 2), code.flatten(2).transpose(1, 2)
        tokens, image = self.transformer2(tokens, image, code, gate)
        image = image.transpose(1, 2).unflatten(2, embedding.shape[2:])
        pixels = self.skip_connect(torch.cat([self.output_upscaling(image), skip], dim=1))
        return weigh(self.output_hypernetworks_mlps2, tokens, pixels), self.iou_prediction_head(tokens[:, 0])


def class_gate(logits: Tensor, grid: Sequence[int]) -> Tensor:
    """First logits [B, M, H, W] -> probabilities at the grid's places [B, M, rows columns]."""
    resized = functional.interpolate(logits, size=tuple(grid), mode="bilinear", align_corners=False)
    return resized.softmax(dim=1).flatten(2)


def with_noise(embedding: Tensor) -> Tensor:
    """Normal noise of a fifth of the batch's range, which only the second decoder sees, in training."""
    extent = embedding.max() - embedding.min()
    return embedding + NOISE * extent * torch.randn_like(embedding)
