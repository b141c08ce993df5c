"""TransUNet, R50-ViT-B_16: a ResNet whose coarsest map is the input of a vision transformer, and a U-Net decoder.

Paper: Chen et al., "TransUNet" (2021); 105.28 M parameters, a row of MoE-SAM Table 1. Released: Beckschen/TransUNet at
02ef001, `networks/vit_seg_modeling.py` (Apache-2.0); state-dict keys are its own.
Released weights: `R50+ViT-B_16.npz` of ImageNet-21k, in JAX's names and layout (`adapt_released`).
Deviations: rectangles are accepted. The position table ties the network to `spatial_shape`, raised to multiples of 16;
smaller inputs are padded with zeros inside, larger ones refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.fit import crop_to_shape, pad_to_shape, round_up
from benchmark.models.registry import register

PATCH = 16
HEAD = 512  # channels that the decoder starts from
EPS = 1e-6
GROUPS = 32


class StandardisedConv(nn.Conv2d):
    """A convolution without bias whose filters have mean 0 and variance 1 (Qiao et al., weight standardisation)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, unbiased=False)
        weight = (self.weight - mean) / torch.sqrt(variance + 1e-5)
        return functional.conv2d(features, weight, None, self.stride, self.padding)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with group norms, and an activation after the residual sum."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        middle = out_channels // 4
        self.gn1 = nn.GroupNorm(GROUPS, middle, eps=EPS)
        self.conv1 = StandardisedConv(in_channels, middle, 1)
        self.gn2 = nn.GroupNorm(GROUPS, middle, eps=EPS)
        self.conv2 = StandardisedConv(middle, middle, 3, stride)
        self.gn3 = nn.GroupNorm(GROUPS, out_channels, eps=EPS)
        self.conv3 = StandardisedConv(middle, out_channels, 1)
        if in_channels != out_channels:
            self.downsample = StandardisedConv(in_channels, out_channels, 1, stride)
            self.gn_proj = nn.GroupNorm(out_channels, out_channels)  # one group per channel, as released

    def forward(self, x: Tensor) -> Tensor:
        residual = self.gn_proj(self.downsample(x)) if hasattr(self, "downsample") else x
        x = functional.relu(self.gn1(self.conv1(x)))
        x = functional.relu(self.gn2(self.conv2(x)))
        return functional.relu(residual + self.gn3(self.conv3(x)))


class HybridResNet(nn.Module):
    """Image -> maps at 1/2, 1/4, 1/8 (skips) and 1/16, of width, 4, 8 and 16 times `width` channels."""

    def __init__(self, width: int, layers: Sequence[int]) -> None:
        super().__init__()
        self.root = nn.Sequential()
        self.root.add_module("conv", StandardisedConv(3, width, 7, 2))
        self.root.add_module("gn", nn.GroupNorm(GROUPS, width, eps=EPS))
        self.root.add_module("relu", nn.ReLU())
        self.body = nn.Sequential()
        widths = [width, 4 * width, 8 * width, 16 * width]
        for number, ((before, after), depth) in enumerate(zip(pairwise(widths), layers, strict=True), start=1):
            block = nn.Sequential()
            for unit in range(1, depth + 1):
                first = unit == 1
                stride = 2 if first and number > 1 else 1
                block.add_module(f"unit{unit}", Bottleneck(before if first else after, after, stride))
            self.body.add_module(f"block{number}", block)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        height, width = image.shape[2:]
        x = self.root(image)
        skips = [x]
        x = functional.max_pool2d(x, 3, 2)  # not padded, so that what follows is one row and column short
        *before, last = self.body
        for level, block in enumerate(before, start=2):
            x = block(x)
            missing = height // 2**level - x.shape[2], width // 2**level - x.shape[3]
            skips.append(functional.pad(x, (0, missing[1], 0, missing[0])))
        return last(x), skips


class Attention(nn.Module):
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    out: nn.Linear

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels cannot be divided among {heads} heads")
        self.heads = heads
        for name in ("query", "key", "value", "out"):
            self.add_module(name, nn.Linear(channels, channels))

    def forward(self, tokens: Tensor) -> Tensor:
        projected = (layer(tokens).unflatten(-1, (self.heads, -1)) for layer in (self.query, self.key, self.value))
        query, key, value = (part.transpose(1, 2) for part in projected)
        return self.out(functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.fc2(self.dropout(functional.gelu(self.fc1(tokens)))))


class TransformerBlock(nn.Module):
    def __init__(self, channels: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(channels, eps=EPS)
        self.ffn_norm = nn.LayerNorm(channels, eps=EPS)
        self.ffn = FeedForward(channels, hidden, dropout)
        self.attn = Attention(channels, heads)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.attention_norm(tokens))
        return tokens + self.ffn(self.ffn_norm(tokens))


class Embeddings(nn.Module):
    """Image -> tokens [B, rows columns, channels], and the skips."""

    def __init__(self, width: int, layers: Sequence[int], channels: int, grid: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.hybrid_model = HybridResNet(width, layers)
        self.patch_embeddings = nn.Conv2d(16 * width, channels, 1)
        self.position_embeddings = nn.Parameter(torch.zeros(1, grid[0] * grid[1], channels))
        self.dropout = nn.Dropout(dropout)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, skips = self.hybrid_model(image)
        tokens = self.patch_embeddings(x).flatten(2).transpose(1, 2)
        return self.dropout(tokens + self.position_embeddings), skips


class Encoder(nn.Module):
    def __init__(self, blocks: Sequence[TransformerBlock], channels: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(blocks)
        self.encoder_norm = nn.LayerNorm(channels, eps=EPS)

    def forward(self, tokens: Tensor) -> Tensor:
        for block in self.layer:
            tokens = block(tokens)
        return self.encoder_norm(tokens)


def conv_norm_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class VisionTransformer(nn.Module):
    """Image -> tokens [B, rows columns, channels] after all blocks, and the skips."""

    def __init__(self, embeddings: Embeddings, encoder: Encoder) -> None:
        super().__init__()
        self.embeddings, self.encoder = embeddings, encoder

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        tokens, skips = self.embeddings(image)
        return self.encoder(tokens), skips


class DecoderBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, skip_channels: int) -> None:
        super().__init__()
        self.conv1 = conv_norm_relu(in_channels + skip_channels, out_channels)
        self.conv2 = conv_norm_relu(out_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return self.conv2(self.conv1(x if skip is None else torch.cat([x, skip], dim=1)))


class Decoder(nn.Module):
    """Four doublings of the resolution, the first three joined by skips, coarsest first."""

    def __init__(self, in_channels: int, widths: Sequence[int], skips: Sequence[int]) -> None:
        super().__init__()
        self.conv_more = conv_norm_relu(in_channels, HEAD)
        sizes = zip(pairwise([HEAD, *widths]), skips, strict=True)
        self.blocks = nn.ModuleList(DecoderBlock(before, after, skip) for (before, after), skip in sizes)

    def forward(self, x: Tensor, skips: Sequence[Tensor]) -> Tensor:
        x = self.conv_more(x)
        for block, skip in zip(self.blocks, [*skips, None], strict=True):
            x = block(x, skip)
        return x


DEMO = {
    "width": 32,
    "layers": (1, 1, 1),
    "hidden_size": 48,
    "mlp_dim": 96,
    "num_heads": 4,
    "num_layers": 2,
    "decoder_channels": (24, 16, 12, 8),
}


@register("transunet", demo=DEMO, spatial_dims=(2,), decoder="decoder")
class TransUNet(nn.Module):
    """[B, in, H, W] -> [B, out, H, W], H and W no larger than the built shape.

    Args:
        in_channels, out_channels: 1 (repeated) or 3; classes including background.
        spatial_shape: input size; its sixteenth is the grid of the position table.
        width, layers: of the ResNet's stem, a multiple of 32; units per stage.
        hidden_size, mlp_dim, num_heads, num_layers: of the transformer.
        decoder_channels: of the four decoder blocks.
        dropout: of embeddings and feed-forward layers.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        width: int = 64,
        layers: Sequence[int] = (3, 4, 9),
        hidden_size: int = 768,
        mlp_dim: int = 3072,
        num_heads: int = 12,
        num_layers: int = 12,
        decoder_channels: Sequence[int] = (256, 128, 64, 16),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if in_channels not in (1, 3):
            raise ValueError(f"in_channels is 1 or 3, not {in_channels}")
        self.built_shape = round_up(spatial_shape, (PATCH, PATCH), several=True)
        self.grid = tuple(side // PATCH for side in self.built_shape)
        blocks = [TransformerBlock(hidden_size, num_heads, mlp_dim, dropout) for _ in range(num_layers)]
        self.transformer = VisionTransformer(
            Embeddings(width, layers, hidden_size, self.grid, dropout), Encoder(blocks, hidden_size)
        )
        self.decoder = Decoder(hidden_size, decoder_channels, (8 * width, 4 * width, width, 0))
        self.segmentation_head = nn.Sequential(nn.Conv2d(decoder_channels[-1], out_channels, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        padded = pad_to_shape(image, self.built_shape)
        tokens, skips = self.transformer(padded.expand(-1, 3, -1, -1))
        grid = tokens.transpose(1, 2).unflatten(2, self.grid)
        logits = self.segmentation_head(self.decoder(grid, skips[::-1]))
        return crop_to_shape(logits, self.built_shape, image.shape[2:])

    def adapt_released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """`R50+ViT-B_16.npz` in this network's names and layouts, its position table resized; others as they are."""
        if "embedding/kernel" not in state:
            return state
        adapted = {_rename(key): _to_torch(key, value) for key, value in state.items()}
        table = adapted["transformer.embeddings.position_embeddings"]
        adapted["transformer.embeddings.position_embeddings"] = self._resize(table)
        return {key: value for key, value in adapted.items() if not key.startswith(("cls", "head", "pre_logits"))}

    def _resize(self, table: Tensor) -> Tensor:
        """[1, 1 + side², channels] with a class token -> [1, rows columns, channels], linear with corners aligned."""
        grid = table[0, 1:].T
        side = round(grid.shape[1] ** 0.5)
        grid = grid.unflatten(1, (side, side))[None]
        return functional.interpolate(grid, self.grid, mode="bilinear", align_corners=True).flatten(2).transpose(1, 2)


NAMES = (  # of the JAX file -> of the network
    (r"^conv_root/", "transformer.embeddings.hybrid_model.root.conv/"),
    (r"^gn_root/", "transformer.embeddings.hybrid_model.root.gn/"),
    (r"^(block\d)/(unit\d+)/", r"transformer.embeddings.hybrid_model.body.\1.\2."),
    (r"conv_proj/", "downsample/"),
    (r"^embedding/", "transformer.embeddings.patch_embeddings/"),
    (r"^Transformer/posembed_input/pos_embedding$", "transformer.embeddings.position_embeddings"),
    (r"^Transformer/encoderblock_(\d+)/", r"transformer.encoder.layer.\1."),
    (r"^Transformer/encoder_norm/", "transformer.encoder.encoder_norm/"),
    (r"MultiHeadDotProductAttention_1/", "attn."),
    (r"LayerNorm_0/", "attention_norm/"),
    (r"LayerNorm_2/", "ffn_norm/"),
    (r"MlpBlock_3/Dense_0/", "ffn.fc1/"),
    (r"MlpBlock_3/Dense_1/", "ffn.fc2/"),
    (r"/(kernel|scale)$", ".weight"),
    (r"/bias$", ".bias"),
)


def _rename(key: str) -> str:
    for pattern, name in NAMES:
        key = re.sub(pattern, name, key)
    return key


def _to_torch(key: str, value: Tensor) -> Tensor:
    if key.endswith(("/scale", "/bias")):
        return value.flatten()  # group norms keep [1, 1, 1, C], attention heads [heads, channels]
    if not key.endswith("/kernel"):
        return value
    if value.dim() == 4:
        return value.permute(3, 2, 0, 1)
    if value.dim() == 3:  # [C, heads, D], and [heads, D, C] of the output
        value = value.flatten(0, 1) if "/out/" in key else value.flatten(1)
    return value.T
