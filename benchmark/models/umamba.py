"""U-Mamba: nnU-Net's residual U-Net with Mamba layers, as of January 2024.

Paper: Ma et al., "U-Mamba" (2024), rows of both Swin-UMamba papers. Released: bowang-lab/U-Mamba at 92a741a,
`nets/UMambaBot.py` and `nets/UMambaEnc.py` (Apache-2.0); encoder and decoder are dynamic-network-architectures' own
classes, state-dict keys are the release's. Later revisions (27 March 2024 on) are other networks, whose parameter
counts (47.5 M and 47.0 M for AbdomenMRI) cannot give the tables' 63 M and 67 M.
Released weights: none for 2-D.
Deviations: sides that the strides do not divide are padded with zeros inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from math import prod
from typing import Any, Literal

import torch
from dynamic_network_architectures.building_blocks.residual import BasicBlockD
from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
from dynamic_network_architectures.building_blocks.unet_residual_decoder import UNetResDecoder
from dynamic_network_architectures.initialization.weight_init import InitWeights_He, init_last_bn_before_add_to_0
from torch import Tensor, nn

from benchmark.models.layers.mamba import Mamba
from benchmark.models.layers.padding import PadToMultiple
from benchmark.models.nnunet import WIDEST, plan, without_lambdas
from benchmark.models.registry import register


class MambaLayer(nn.Module):
    """[B, C, H, W] -> the same: norm and Mamba over row-major tokens, in float32. There is no residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mamba = Mamba(channels)

    def forward(self, features: Tensor) -> Tensor:
        return mix_tokens(self.norm, self.mamba, features)


def mix_tokens(norm: nn.LayerNorm, mamba: Mamba, features: Tensor) -> Tensor:
    """Mamba over the normalised row-major tokens of [B, C, H, W]; half precision made it diverge in the release."""
    # Where cost is counted, on the meta device, there is no autocast to turn off.
    with nullcontext() if features.is_meta else torch.autocast(features.device.type, enabled=False):
        tokens = features.to(norm.weight.dtype).flatten(2).transpose(1, 2)
        return mamba(norm(tokens)).transpose(1, 2).reshape(features.shape)


class MambaEncoder(ResidualEncoder):
    """nnU-Net's residual encoder with a Mamba layer after every stage, whose output is also the skip."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.mamba_layers = nn.ModuleList(MambaLayer(channels) for channels in self.output_channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        x, skips = self.stem(x), []
        for stage, mamba in zip(self.stages, self.mamba_layers, strict=True):
            x = mamba(stage(x))
            skips.append(x)
        return skips


class _UMamba(nn.Module):
    """The network on sides that the strides divide; see `UMamba`."""

    variant: str
    encoder: nn.Module
    ln: nn.LayerNorm  # these two at the variant "bot"
    mamba: Mamba
    decoder: nn.Module

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        skips = self.encoder(x)
        if self.variant == "bot":
            skips[-1] = mix_tokens(self.ln, self.mamba, skips[-1])
        return self.decoder(skips)


@register(
    "umamba",
    demo={"base_features": 8, "max_features": 32, "deep_supervision": False},
    spatial_dims=(2,),
    decoder="decoder",
)
class UMamba(PadToMultiple[Tensor | list[Tensor]], _UMamba):
    """[B, in, H, W] -> [B, out, H, W]; with deep supervision a list of all decoder levels, full resolution first.

    Args:
        in_channels, out_channels: image channels; classes including background.
        spatial_shape: patch that nnU-Net plans the topology for (7 stages at 320² and 384 x 640, 8 at 512²).
        variant: "bot", one Mamba layer in place of the bottleneck's features; "enc", one after every encoder stage.
        base_features, max_features: channels at full resolution, doubled with each stage up to the most.
        strides, features: of every stage, in place of the planned ones.
        deep_supervision: return every decoder level. The heads exist either way.
    """

    several = True

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        variant: Literal["bot", "enc"] = "bot",
        base_features: int = 32,
        max_features: int = WIDEST[2],
        strides: Sequence[Sequence[int]] | None = None,
        features: Sequence[int] | None = None,
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
        if variant not in ("bot", "enc"):
            raise ValueError(f"variant is 'bot' or 'enc', not {variant!r}")
        self.variant = variant
        strides, kernel_sizes = plan(spatial_shape, (1.0, 1.0), strides, None)
        features = list(features or [min(base_features * 2**i, max_features) for i in range(len(strides))])
        self.multiple: Sequence[int] = [prod(stride[axis] for stride in strides) for axis in range(2)]
        self.encoder = (MambaEncoder if variant == "enc" else ResidualEncoder)(
            input_channels=in_channels,
            n_stages=len(strides),
            features_per_stage=features,
            conv_op=nn.Conv2d,
            kernel_sizes=kernel_sizes,
            strides=strides,
            n_blocks_per_stage=[2] * len(strides),
            conv_bias=True,
            norm_op=nn.InstanceNorm2d,
            norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=nn.LeakyReLU,
            nonlin_kwargs={"inplace": True},
            block=BasicBlockD,
            return_skips=True,
        )
        if variant == "bot":
            self.ln, self.mamba = nn.LayerNorm(features[-1]), Mamba(features[-1])
        self.decoder = UNetResDecoder(self.encoder, out_channels, [2] * (len(strides) - 1), deep_supervision)
        without_lambdas(self)
        self.apply(InitWeights_He(1e-2))
        if variant == "enc":
            self.apply(init_last_bn_before_add_to_0)
        if not deep_supervision:
            self.unused_parameters = tuple(f"decoder.seg_layers.{i}.*" for i in range(len(strides) - 2))
