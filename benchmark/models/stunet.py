"""STU-Net (Huang et al. 2023, "STU-Net: Scalable and Transferable Medical Image Segmentation Models").

Facts: uni-medical/STU-Net at 0652eaf (Apache-2.0), `STUNet.py`; parameter names are the released ones. A residual
nnU-Net of six resolutions: strides instead of pooling, nearest up-sampling followed by a 1x1x1 convolution, and a
biased head at each of the five decoder levels, present whether or not deep supervision is asked for.

Weights: sizes S, B, L and H trained on TotalSegmentator v1 (105 outputs). Their label order differs from
TotalSegmentator's (`label_orders.json` of the release): reorder the heads' classes, or retrain the heads.

Variants: the nnU-Net v1 file starts from He initialisation with slope 0.01 (`initialisation="he"`, the default, which
trained the released weights); the v2 file leaves PyTorch's default (`initialisation="default"`).

Deviation: sides that are not multiples of the total stride are padded with zeros at the end and cropped again; the
release refuses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.checkpointing import maybe_checkpoint
from benchmark.models.layers.padding import PadToMultiple
from benchmark.models.registry import register

SLOPE = 0.01
SIZES = {"S": (16, 1), "B": (32, 1), "L": (64, 2), "H": (96, 3)}  # base width, residual blocks per stage
WIDTH_FACTORS = (1, 2, 4, 8, 16, 16)
RELEASED_POOLINGS = ((2, 2, 2),) * 4 + ((1, 1, 2),)  # the plan of the published weights, patch 128^3


class ResidualBlock(nn.Module):
    """conv - norm - LeakyReLU - conv - norm, plus the input (through a 1x1x1 convolution where `project`)."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: tuple[int, int, int] = (1, 1, 1), project: bool = False
    ):
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1)
        self.norm1 = nn.InstanceNorm3d(out_channels, affine=True)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=1)
        self.norm2 = nn.InstanceNorm3d(out_channels, affine=True)
        self.conv3 = nn.Conv3d(in_channels, out_channels, 1, stride=stride) if project else None

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.conv3 is None else self.conv3(features)
        features = functional.leaky_relu(self.norm1(self.conv1(features)), SLOPE)
        return functional.leaky_relu(self.norm2(self.conv2(features)) + shortcut, SLOPE)


class Upsample(nn.Module):
    """Nearest-neighbour up-sampling, then a 1x1x1 convolution (in this order, as released)."""

    def __init__(self, in_channels: int, out_channels: int, factor: Sequence[int]):
        super().__init__()
        self.factor = tuple(float(f) for f in factor)
        self.conv = nn.Conv3d(in_channels, out_channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.conv(functional.interpolate(features, scale_factor=self.factor, mode="nearest"))


def _stage(in_channels: int, out_channels: int, depth: int, stride: Sequence[int] = (1, 1, 1)) -> nn.Sequential:
    along_depth, along_height, along_width = stride
    first = ResidualBlock(in_channels, out_channels, (along_depth, along_height, along_width), project=True)
    return nn.Sequential(first, *(ResidualBlock(out_channels, out_channels) for _ in range(depth - 1)))


class ResidualUNet(nn.Module):
    """The network on sides that are multiples of `multiple`; see `STUNet`."""

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        size: Literal["S", "B", "L", "H"] = "L",
        widths: Sequence[int] | None = None,
        depths: Sequence[int] | None = None,
        poolings: Sequence[Sequence[int]] = RELEASED_POOLINGS,
        deep_supervision: bool = True,
        initialisation: Literal["he", "default"] = "he",
        checkpointing: bool = False,
    ):
        super().__init__()
        if size not in SIZES:
            raise ValueError(f"unknown size {size!r}; known: {', '.join(SIZES)}")
        if initialisation not in ("he", "default"):
            raise ValueError(f"unknown initialisation {initialisation!r}; known: he, default")
        width, depth = SIZES[size]
        widths = list(widths or (width * factor for factor in WIDTH_FACTORS))
        depths = list(depths or [depth] * len(widths))
        if not len(widths) == len(depths) == len(poolings) + 1:
            raise ValueError(
                f"{len(widths)} widths and {len(depths)} depths need {len(widths) - 1} poolings, not {len(poolings)}"
            )
        self.deep_supervision, self.checkpointing = deep_supervision, checkpointing
        self.unused_parameters = (
            () if deep_supervision else tuple(f"seg_outputs.{i}.*" for i in range(len(poolings) - 1))
        )
        self.multiple: Sequence[int] = tuple(prod(pooling[axis] for pooling in poolings) for axis in range(3))
        strides = [(1, 1, 1), *poolings]
        self.conv_blocks_context = nn.ModuleList(
            _stage(before, width, depth, stride)
            for (before, width), depth, stride in zip(pairwise([in_channels, *widths]), depths, strides, strict=True)
        )
        upwards = widths[::-1]
        self.upsample_layers = nn.ModuleList(
            Upsample(below, width, pooling)
            for (below, width), pooling in zip(pairwise(upwards), reversed(poolings), strict=True)
        )
        self.conv_blocks_localization = nn.ModuleList(
            _stage(2 * width, width, depth) for width, depth in zip(upwards[1:], depths[-2::-1], strict=True)
        )
        self.seg_outputs = nn.ModuleList(nn.Conv3d(width, out_channels, 1) for width in upwards[1:])
        if initialisation == "he":
            self.apply(_he_initialise)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        features, skips = image, []
        for stage in self.conv_blocks_context:
            features = maybe_checkpoint(self.checkpointing, stage, features)
            skips.append(features)
        skips.pop()
        levels = []
        for upsample, stage in zip(self.upsample_layers, self.conv_blocks_localization, strict=True):
            features = torch.cat((upsample(features), skips.pop()), dim=1)
            features = maybe_checkpoint(self.checkpointing, stage, features)
            levels.append(features)
        if not self.deep_supervision:
            return self.seg_outputs[-1](features)
        return [head(level) for head, level in zip(self.seg_outputs, levels, strict=True)][::-1]


def _he_initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@register("stunet", demo={"widths": (4, 8, 16, 32, 32, 32), "poolings": ((2, 2, 2),) * 3 + ((1, 1, 1),) * 2})
class STUNet(PadToMultiple[Tensor | list[Tensor]], ResidualUNet):
    """[B, in_channels, *S] -> [B, out_channels, *S]; with deep supervision a list of five, full resolution first.

    Args:
        in_channels, out_channels: image channels; classes including background.
        spatial_shape: not used, the network fits any size.
        size: S, B, L or H (14.6, 58.3, 440.3, 1457.3 M parameters at 105 classes).
        widths, depths: six channel counts and six block counts that replace those of `size`.
        poolings: five strides; the release appends (1, 1, 1) to shorter nnU-Net plans and cuts longer ones.
        deep_supervision: return all five levels.
        initialisation: see the module.
        checkpointing: recompute every stage's activations in the backward pass.

    Raises:
        ValueError: unknown size or initialisation, or counts that do not agree.
    """

    several = True
