"""DoDNet (Zhang et al. 2021, "DoDNet: Learning to segment multi-organ and tumors from multiple partially labeled
datasets", CVPR).

Written from the paper and from facts about jianpengz/DoDNet at f06ce1b (`unet3D_DynConv882.py`), which is GPL-3.0: no
code was taken. Parameter names are the released ones. A pre-activation residual U-Net with GroupNorm and standardised
weights whose head is predicted from the pooled, fused bottleneck and the one-hot code of a task.

The release has seven tasks with two outputs each, organ and tumour, a sigmoid each; labels that a task lacks are -1
and left out of the loss. Here a head has `out_channels` outputs, and `forward(image, task)` takes the task of each
sample; without one it is `task` of the options, so that the network also runs in a loop for a single data set.

Deviation: sides that are not multiples of 16 are zero-padded at the end and cropped again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.dynamic_head import dynamic_head, parameter_count
from benchmark.models.layers.fit import crop_to_shape, pad_to_multiple
from benchmark.models.registry import register

WIDTH_FACTORS, BLOCKS = (1, 2, 4, 8, 8), (1, 2, 2, 2, 2)
HEAD_WIDTH, GROUPS, DIVISOR = 8, 16, 16


class StandardisedConv(nn.Conv3d):
    """Convolution whose weights have mean 0 and unbiased variance 1 per output channel (Qiao et al. 2019)."""

    def forward(self, features: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3, 4), keepdim=True)
        weight = (self.weight - mean) / (variance + 1e-12).sqrt()
        return functional.conv3d(features, weight, self.bias, self.stride, self.padding)


def _conv(in_channels: int, out_channels: int, side: int, stride: int, standardise: bool) -> nn.Conv3d:
    kind = StandardisedConv if standardise else nn.Conv3d
    return kind(in_channels, out_channels, side, stride=stride, padding=side // 2, bias=False)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(GROUPS, channels), channels)


class Block(nn.Module):
    """Norm - ReLU - convolution, twice, residual; the shortcut is normalised too where it is a convolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, standardise: bool):
        super().__init__()
        self.gn1, self.conv1 = _norm(in_channels), _conv(in_channels, out_channels, 3, stride, standardise)
        self.gn2, self.conv2 = _norm(out_channels), _conv(out_channels, out_channels, 3, 1, standardise)
        self.downsample = None
        if stride > 1 or in_channels != out_channels:
            shortcut = _conv(in_channels, out_channels, 1, stride, standardise)
            self.downsample = nn.Sequential(_norm(in_channels), nn.ReLU(), shortcut)

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        features = self.conv1(functional.relu(self.gn1(features)))
        return self.conv2(functional.relu(self.gn2(features))) + shortcut


@register("dodnet", demo={"width": 4})
class DoDNet(nn.Module):
    """[B, in_channels, *S] and tasks [B] -> [B, out_channels, *S].

    Args:
        in_channels, out_channels: image channels; outputs of one task's head, 2 in the release.
        spatial_shape: not used, the network fits any size.
        width: channels at full resolution.
        tasks: length of the one-hot code.
        task: code of samples for which `forward` is given none.
        organs: a task for each class but the background, whose heads have one output each; the background's logit is 0.
        weight_standardisation: of every convolution but the head's.

    Raises:
        ValueError: a task outside the code, or a width that GroupNorm cannot divide.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        width: int = 32,
        tasks: int = 7,
        task: int = 0,
        organs: bool = False,
        weight_standardisation: bool = True,
    ):
        super().__init__()
        if organs:
            tasks, out_channels = out_channels - 1, 1
        if not 0 <= task < tasks:
            raise ValueError(f"task {task} is outside 0..{tasks - 1}")
        if width % min(GROUPS, width):
            raise ValueError(f"width {width} cannot be divided into {GROUPS} groups")
        self.tasks, self.task, self.organs = tasks, task, organs
        widths = [width * factor for factor in WIDTH_FACTORS]
        self.head_widths = (HEAD_WIDTH, HEAD_WIDTH, HEAD_WIDTH, out_channels)
        self.conv1 = _conv(in_channels, width, 3, 1, weight_standardisation)
        before = width
        for level, (after, count) in enumerate(zip(widths, BLOCKS, strict=True)):
            blocks = [Block(before, after, 2 if level else 1, weight_standardisation)]
            blocks += [Block(after, after, 1, weight_standardisation) for _ in range(count - 1)]
            self.add_module(f"layer{level}", nn.Sequential(*blocks))
            before = after
        fusion = _conv(before, before, 1, 1, weight_standardisation)
        self.fusionConv = nn.Sequential(_norm(before), nn.ReLU(), fusion)
        for level, after in zip((8, 4, 2, 1), (widths[2], widths[1], widths[0], widths[0]), strict=True):
            self.add_module(f"x{level}_resb", nn.Sequential(Block(before, after, 1, weight_standardisation)))
            before = after
        self.precls_conv = nn.Sequential(_norm(width), nn.ReLU(), nn.Conv3d(width, HEAD_WIDTH, 1))
        self.GAP = nn.Sequential(_norm(widths[-1]), nn.ReLU(), nn.AdaptiveAvgPool3d(1))
        self.controller = nn.Conv3d(widths[-1] + tasks, parameter_count(self.head_widths), 1)

    def parameters_added(self, classes: int) -> int:
        """By a longer code: a task for each new class but the background."""
        return (classes - 1) * self.controller.out_channels

    def forward(self, image: Tensor, task: Tensor | None = None) -> Tensor:
        features = self.conv1(pad_to_multiple(image, (DIVISOR,) * 3))
        padded, skips = features.shape[2:], []
        for level in range(len(BLOCKS)):
            features = self.get_submodule(f"layer{level}")(features)
            skips.append(features)
        features = self.fusionConv(skips.pop())
        head = self._head(features, task)
        for level in (8, 4, 2, 1):
            features = functional.interpolate(features, scale_factor=2, mode="trilinear", align_corners=False)
            features = self.get_submodule(f"x{level}_resb")(features + skips.pop())
        logits = dynamic_head(self.precls_conv(features), head, self.head_widths, chunk=1)
        if self.organs:
            logits = functional.pad(logits, (0, 0) * 3 + (1, 0))
        return crop_to_shape(logits, padded, image.shape[2:])

    def _head(self, bottleneck: Tensor, task: Tensor | None) -> Tensor:
        """Weights of each sample's heads, [B, heads, count]: one, or that of every organ."""
        if self.organs:
            tasks = torch.arange(self.tasks, device=bottleneck.device).expand(len(bottleneck), -1)
        elif task is None:
            tasks = torch.full((len(bottleneck), 1), self.task, device=bottleneck.device)
        else:
            tasks = task.long()[:, None]
        pooled = self.GAP(bottleneck)[:, None].expand(-1, tasks.shape[1], -1, -1, -1, -1).flatten(0, 1)
        code = functional.one_hot(tasks.flatten(), self.tasks).to(pooled)[:, :, None, None, None]
        return self.controller(torch.cat((pooled, code), dim=1)).view(*tasks.shape, -1)
