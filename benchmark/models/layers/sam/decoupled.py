"""DeSAM's mask module: a small U-Net over three encoder maps and the image tokens that leave SAM's decoder.

Paper: Gao et al., "DeSAM" (MICCAI 2024). Released: yifangao112/DeSAM @f377da2 (MIT); keys are its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-5
SLOPE = 0.01
SQUEEZE = 16
# Squeeze and excitation follows an instance norm without weight and bias: the mean that it looks at is zero, and the
# sigmoid of two layers without bias is one half, whatever their weights.
EXCITATION = 0.5


class Convolution(nn.Module):
    """[B, in_channels, H, W] -> [B, out_channels, H, W]; nested one level deep as in the released keys."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return self.conv(features)


class Up(nn.Module):
    """[B, in_channels, H, W] -> [B, out_channels, 2 H, 2 W]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return self.conv(features)


class ResidualExcitation(nn.Module):
    """Two 3x3 convolutions with instance norms, an excitation that is always one half, and a shortcut.

    As in the release, the weights of the excitation, and of the shortcut where the widths are equal, exist unused.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        if out_channels < SQUEEZE:
            raise ValueError(f"a residual block of DeSAM has {SQUEEZE} channels at least, not {out_channels}")
        self.conv1 = Convolution(in_channels, out_channels, 3)
        self.conv2 = Convolution(out_channels, out_channels, 3)
        self.conv3 = Convolution(in_channels, out_channels, 1)
        squeezed = out_channels // SQUEEZE
        layers = [nn.Linear(out_channels, squeezed, bias=False), nn.ReLU()]
        self.se = nn.Module()
        self.se.add_module("fc", nn.Sequential(*layers, nn.Linear(squeezed, out_channels, bias=False)))
        self.widens = in_channels != out_channels

    def forward(self, features: Tensor) -> Tensor:
        x = functional.leaky_relu(functional.instance_norm(self.conv1(features), eps=EPS), SLOPE)
        x = EXCITATION * functional.instance_norm(self.conv2(x), eps=EPS)
        shortcut = functional.instance_norm(self.conv3(features), eps=EPS) if self.widens else features
        return functional.leaky_relu(x + shortcut, SLOPE)


class ContextBranch(nn.Module):
    """Encoder map [B, encoder_width, g, g] -> [B, width, 2^doublings g, 2^doublings g]."""

    def __init__(self, encoder_width: int, width: int, doublings: int) -> None:
        super().__init__()
        self.block_init = ResidualExcitation(encoder_width, width)
        stages = (nn.Sequential(Up(width, width), ResidualExcitation(width, width)) for _ in range(doublings))
        self.residual_block = nn.Sequential(*stages)

    def forward(self, features: Tensor) -> Tensor:
        return self.residual_block(self.block_init(features))


class Localisation(nn.Module):
    """Doubles [B, in_channels, H, W] and joins it with [B, out_channels, 2 H, 2 W]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.transp_conv = Up(in_channels, out_channels)
        self.res_block = ResidualExcitation(2 * out_channels, out_channels)

    def forward(self, features: Tensor, context: Tensor) -> Tensor:
        return self.res_block(torch.cat([self.transp_conv(features), context], dim=1))


class MaskModule(nn.Module):
    """Encoder maps and mask embedding -> logits of one mask.

    Args:
        encoder_width: channels of each encoder map.
        width: channels of the mask embedding; the branches have all, a half and a quarter of them.
        branches: number of encoder maps.
    """

    def __init__(self, encoder_width: int, width: int, branches: int = 3) -> None:
        super().__init__()
        widths = [width // 2**branch for branch in range(branches)]
        contexts = (ContextBranch(encoder_width, each, doublings) for doublings, each in enumerate(widths))
        self.mask_embedding_fusion = ResidualExcitation(2 * width, width)
        self.conv_blocks_context = nn.ModuleList(contexts)
        self.conv_blocks_localization = nn.ModuleList(Localisation(*pair) for pair in pairwise(widths))
        self.seg_outputs = nn.ModuleList(nn.Conv2d(each, 1, 1, bias=False) for each in widths[1:])

    def forward(self, maps: Sequence[Tensor], embedding: Tensor) -> list[Tensor]:
        """maps [B, encoder_width, g, g], shallowest first; embedding [B, width, g, g].

        Returns:
            Logits [B, 1, 4 g, 4 g] and [B, 1, 2 g, 2 g] (for three branches): finest first.
        """
        contexts = [branch(each) for branch, each in zip(self.conv_blocks_context, reversed(maps), strict=True)]
        x = self.mask_embedding_fusion(torch.cat([embedding, contexts[0]], dim=1))
        outputs = []
        for step, context, head in zip(self.conv_blocks_localization, contexts[1:], self.seg_outputs, strict=True):
            x = step(x, context)
            outputs.append(head(x))
        return outputs[::-1]
