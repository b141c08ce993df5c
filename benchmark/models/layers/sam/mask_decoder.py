"""SAM's mask decoder: a transformer between tokens and image, and a mask per mask token.

Released: facebookresearch/segment-anything at dca509f (Apache-2.0); state-dict keys are its own. Networks of the family
replace a block (`TwoWayTransformer`'s `block`), take another number of mask tokens, or build other heads on `attend`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.channel_norm import ChannelNorm
from benchmark.models.layers.sam.image_encoder import Perceptron
from benchmark.models.layers.sam.sizes import SamSize

HEADS = 8
DEPTH = 2
EPS = 1e-5  # of the token norms


class Projections(nn.Module):
    """What queries, keys and values, [N, tokens, channels] each, pass before and after an attention.

    Args:
        channels, inner: outside and inside the projections.
        heads: that `inner` is divided among.
    """

    def __init__(self, channels: int, inner: int, heads: int = HEADS) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(channels, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, channels)

    def split(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Projected, [N, heads, tokens, inner / heads] each."""
        projected = (self.q_proj(query), self.k_proj(key), self.v_proj(value))
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in projected)
        return query, key, value


class TokenAttention(Projections):
    """Attention of queries to keys, [N, tokens, channels] each, inside `Projections`, whose arguments it takes."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        attended = functional.scaled_dot_product_attention(*self.split(query, key, value))
        return self.out_proj(attended.transpose(1, 2).flatten(2))


def attention_weights(query: Tensor, key: Tensor) -> Tensor:
    """How much of each key a query takes, [N, heads, queries, keys], of what `Projections.split` gives."""
    return (query @ key.transpose(-1, -2) / key.shape[-1] ** 0.5).softmax(dim=-1)


class BlockParts(nn.Module):
    """What the blocks of a two-way transformer are made of.

    Args:
        channels, hidden: of the tokens and of their perceptron.
        first: the first block's self-attention replaces the tokens, without position code and residual.
    """

    cross_attn_token_to_image: nn.Module
    mlp: nn.Module
    cross_attn_image_to_token: nn.Module

    def __init__(self, channels: int, hidden: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = TokenAttention(channels, channels)
        self.cross_attn_token_to_image = TokenAttention(channels, channels // 2)
        self.mlp = Perceptron(channels, hidden, nn.ReLU)
        self.cross_attn_image_to_token = TokenAttention(channels, channels // 2)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(channels, eps=EPS) for _ in range(4))

    def among_tokens(self, tokens: Tensor, code: Tensor) -> Tensor:
        """The tokens after their self-attention and its norm."""
        if self.first:
            return self.norm1(self.self_attn(tokens, tokens, tokens))
        return self.norm1(tokens + self.self_attn(tokens + code, tokens + code, tokens))


class TwoWayBlock(BlockParts):
    """Tokens attend to themselves and to the image, and the image to the tokens; every norm after its residual sum.

    Built as `BlockParts`.
    """

    def forward(self, tokens: Tensor, image: Tensor, token_code: Tensor, image_code: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.among_tokens(tokens, token_code)
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + token_code, image + image_code, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(image + image_code, tokens + token_code, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """Tokens [N, T, C] and image [N, pixels, C] -> both; the tokens are their own position code throughout.

    Args:
        channels, hidden: of the tokens and of the blocks' perceptrons.
        block: makes a block from channels, hidden and whether it is the first.
    """

    def __init__(self, channels: int, hidden: int, block: Callable[[int, int, bool], nn.Module] = TwoWayBlock) -> None:
        super().__init__()
        self.layers = nn.ModuleList(block(channels, hidden, number == 0) for number in range(DEPTH))
        self.final_attn_token_to_image = TokenAttention(channels, channels // 2)
        self.norm_final_attn = nn.LayerNorm(channels, eps=EPS)

    def forward(self, tokens: Tensor, image: Tensor, image_code: Tensor, *gate: Tensor) -> tuple[Tensor, Tensor]:
        """`gate` goes to every block."""
        code = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, code, image_code, *gate)
        attended = self.final_attn_token_to_image(tokens + code, image + image_code, image)
        return self.norm_final_attn(tokens + attended), image


class Head(nn.Module):
    """Linear layers with ReLU between, `depth` of them."""

    def __init__(self, channels: int, hidden: int, out: int, depth: int = 3) -> None:
        super().__init__()
        widths = [channels, *[hidden] * (depth - 1), out]
        self.layers = nn.ModuleList(nn.Linear(widths[i], widths[i + 1]) for i in range(depth))

    def forward(self, tokens: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            tokens = functional.relu(layer(tokens))
        return self.layers[-1](tokens)


def make_upscaling(channels: int) -> nn.Sequential:
    """[N, channels, rows, columns] -> [N, channels / 8, 4 rows, 4 columns]."""
    return nn.Sequential(
        nn.ConvTranspose2d(channels, channels // 4, 2, stride=2),
        ChannelNorm(channels // 4),
        nn.GELU(),
        nn.ConvTranspose2d(channels // 4, channels // 8, 2, stride=2),
        nn.GELU(),
    )


class Attended(NamedTuple):
    """What the decoder's transformer gives for N queries.

    Attributes:
        quality: [N, C], the token that the masks' IoU is predicted from.
        masks: [N, M, C], a token per mask.
        image: [N, C, rows, columns].
    """

    quality: Tensor
    masks: Tensor
    image: Tensor


class MaskDecoder(nn.Module):
    """Image embedding and prompts -> logits [N, M, 4 rows, 4 columns] and predicted IoU [N, M] of all M masks.

    Args:
        size: of the network.
        masks: mask tokens: four in SAM (one for a single mask, three for a choice), K + 1 in networks of K classes.
        block: of the transformer.
    """

    def __init__(
        self, size: SamSize, masks: int = 4, block: Callable[[int, int, bool], nn.Module] = TwoWayBlock
    ) -> None:
        super().__init__()
        channels = size.channels
        self.transformer = TwoWayTransformer(channels, size.decoder_hidden, block)
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(masks, channels)
        self.output_upscaling = make_upscaling(channels)
        self.output_hypernetworks_mlps = nn.ModuleList(Head(channels, channels, channels // 8) for _ in range(masks))
        self.iou_prediction_head = Head(channels, size.quality_hidden, masks)

    def attend(self, embedding: Tensor, code: Tensor, sparse: Tensor, dense: Tensor) -> Attended:
        """The transformer of image and tokens.

        Args:
            embedding: [N, C, rows, columns], an image per query.
            code: [1, C, rows, columns], of the grid.
            sparse, dense: `Prompts` of N queries, or of one for all.
        """
        count = len(embedding)
        tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])[None].expand(count, -1, -1)
        tokens = torch.cat([tokens, sparse.expand(count, -1, -1)], dim=1)
        image = (embedding + dense).flatten(2).transpose(1, 2)
        tokens, image = self.transformer(tokens, image, code.flatten(2).transpose(1, 2))
        masks = tokens[:, 1 : 1 + len(self.output_hypernetworks_mlps)]
        return Attended(tokens[:, 0], masks, image.transpose(1, 2).unflatten(2, embedding.shape[2:]))

    def forward(self, embedding: Tensor, code: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """As `attend`; logits and predicted IoU of all masks."""
        quality, masks, image = self.attend(embedding, code, sparse, dense)
        logits = weigh(self.output_hypernetworks_mlps, masks, self.output_upscaling(image))
        return logits, self.iou_prediction_head(quality)


def weigh(heads: nn.ModuleList, tokens: Tensor, image: Tensor) -> Tensor:
    """Logits [N, M, H, W]: pixels of `image` [N, C', H, W] times what each mask's head makes of its token [N, M, C]."""
    vectors = torch.stack([head(token) for head, token in zip(heads, tokens.unbind(1), strict=True)], dim=1)
    return (vectors @ image.flatten(2)).unflatten(2, image.shape[2:])
