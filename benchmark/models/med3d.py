"""MED3D / MedicalNet (Chen et al. 2019, "Med3D: Transfer Learning for 3D Medical Image Analysis").

Facts: Tencent/MedicalNet at 20f76aa (MIT), `models/resnet.py`; parameter names are the released ones. A 3-D ResNet
whose stages 3 and 4 keep the resolution with dilations 2 and 4, so that the total stride is 8, and a head at a quarter
of the input resolution. MONAI's `resnet` has the same backbone keys but strides those stages: another function.

Variants: shortcut A (strided copy, zero channels) is built from detached data in the release, so that no gradient flows
through it (`detach_shortcut=True`, the default); as written in He et al. it flows. Shortcut B is a 1x1x1 convolution.

Count: the 117.51 M that M4oE and the MedicalNet README print are all state-dict elements of the ResNet-152 B backbone,
BatchNorm statistics included and head excluded. The segmentation network has 117.91 M parameters at 14 classes.

The release trains against labels brought to a quarter of the resolution, and enlarges probabilities linearly when it
predicts: `upsample=False`, with the settings `training.loss.coarse_output` and `inference.enlarged`. By default, as any
network of the registry, it gives logits of the input's size: they are enlarged trilinearly, and sides that are not
multiples of 8 are zero-padded at the end and cropped again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.checkpointing import maybe_checkpoint
from benchmark.models.layers.padding import PadToMultiple
from benchmark.models.registry import register

DEPTHS = {  # blocks per stage
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
STRIDES, DILATIONS = (1, 2, 1, 1), (1, 1, 2, 4)
HEAD_WIDTH = 32


class PadShortcut(nn.Module):
    """Shortcut A: every `stride`-th voxel, and zeros for the channels that are new."""

    def __init__(self, out_channels: int, stride: int, detach: bool):
        super().__init__()
        self.out_channels, self.stride, self.detach = out_channels, stride, detach

    def forward(self, features: Tensor) -> Tensor:
        step = slice(None, None, self.stride)
        features = (features.detach() if self.detach else features)[:, :, step, step, step]
        return functional.pad(features, (0,) * 7 + (self.out_channels - features.shape[1],))


def _conv(in_channels: int, out_channels: int, side: int, stride: int = 1, dilation: int = 1) -> nn.Conv3d:
    padding = dilation * (side // 2)
    return nn.Conv3d(in_channels, out_channels, side, stride=stride, padding=padding, dilation=dilation, bias=False)


class BasicBlock(nn.Module):
    """Two 3^3 convolutions, residual."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, dilation: int, shortcut: nn.Module | None):
        super().__init__()
        self.conv1, self.bn1 = _conv(in_channels, width, 3, stride, dilation), nn.BatchNorm3d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, 1, dilation), nn.BatchNorm3d(width)
        self.downsample = shortcut

    def forward(self, features: Tensor) -> Tensor:
        residual = features if self.downsample is None else self.downsample(features)
        features = functional.relu(self.bn1(self.conv1(features)))
        return functional.relu(self.bn2(self.conv2(features)) + residual)


class Bottleneck(nn.Module):
    """1^3, 3^3 and 1^3 convolutions, the last four times as wide, residual."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, dilation: int, shortcut: nn.Module | None):
        super().__init__()
        self.conv1, self.bn1 = _conv(in_channels, width, 1), nn.BatchNorm3d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride, dilation), nn.BatchNorm3d(width)
        self.conv3, self.bn3 = _conv(width, 4 * width, 1), nn.BatchNorm3d(4 * width)
        self.downsample = shortcut

    def forward(self, features: Tensor) -> Tensor:
        residual = features if self.downsample is None else self.downsample(features)
        features = functional.relu(self.bn1(self.conv1(features)))
        features = functional.relu(self.bn2(self.conv2(features)))
        return functional.relu(self.bn3(self.conv3(features)) + residual)


class DilatedResNet(nn.Module):
    """The network on sides that are multiples of 8; see `Med3D`."""

    multiple: Sequence[int] = (8, 8, 8)
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        depth: Literal[10, 18, 34, 50, 101, 152, 200] = 152,
        shortcut: Literal["A", "B"] = "B",
        width: int = 64,
        detach_shortcut: bool = True,
        upsample: bool = True,
        checkpointing: bool = False,
    ):
        super().__init__()
        if depth not in DEPTHS or shortcut not in ("A", "B"):
            raise ValueError(f"depth is one of {tuple(DEPTHS)} and shortcut A or B, not {depth!r} and {shortcut!r}")
        self.upsample, self.checkpointing = upsample, checkpointing
        self.conv1, self.bn1 = _conv(in_channels, width, 7, stride=2), nn.BatchNorm3d(width)
        block = BasicBlock if depth < 50 else Bottleneck
        channels = width
        for stage, (count, stride, dilation) in enumerate(zip(DEPTHS[depth], STRIDES, DILATIONS, strict=True)):
            stage_width = width * 2**stage
            outputs = stage_width * block.expansion
            path = None
            if stride > 1 or channels != outputs:
                projection = nn.Sequential(_conv(channels, outputs, 1, stride), nn.BatchNorm3d(outputs))
                path = projection if shortcut == "B" else PadShortcut(outputs, stride, detach_shortcut)
            blocks = [block(channels, stage_width, stride, dilation, path)]
            blocks += [block(outputs, stage_width, 1, dilation, None) for _ in range(count - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            channels = outputs
        self.conv_seg = nn.Sequential(
            nn.ConvTranspose3d(channels, HEAD_WIDTH, 2, stride=2),
            nn.BatchNorm3d(HEAD_WIDTH),
            nn.ReLU(),
            _conv(HEAD_WIDTH, HEAD_WIDTH, 3),
            nn.BatchNorm3d(HEAD_WIDTH),
            nn.ReLU(),
            _conv(HEAD_WIDTH, out_channels, 1),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def head(self) -> nn.Module:
        """What the release trains with a hundred times the rate of the rest."""
        return self.conv_seg

    def parameters_added(self, classes: int) -> int:
        """By a second head, on the shared encoder."""
        *before, last = self.conv_seg.parameters()  # the weight of a convolution without bias, of `out_channels` rows
        return sum(parameter.numel() for parameter in before) + classes * last[0].numel()

    def forward(self, image: Tensor) -> Tensor:
        features = functional.relu(self.bn1(self.conv1(image)))
        features = functional.max_pool3d(features, 3, stride=2, padding=1)
        for block in (*self.layer1, *self.layer2, *self.layer3, *self.layer4):
            features = maybe_checkpoint(self.checkpointing, block, features)
        logits = self.conv_seg(features)
        if not self.upsample:
            return logits
        return functional.interpolate(logits, size=image.shape[2:], mode="trilinear", align_corners=False)


@register("med3d", demo={"depth": 10, "width": 12})
class Med3D(PadToMultiple[Tensor], DilatedResNet):
    """[B, in_channels, *S] -> [B, out_channels, *S], or a quarter of each side without `upsample`.

    Args:
        in_channels, out_channels: image channels; classes including background.
        spatial_shape: not used, the network fits any size.
        depth: layers of the ResNet; from 50 on with bottleneck blocks.
        shortcut: the released 18 and 34 have A, the others B.
        width: channels of the first stage.
        detach_shortcut: see the module; of shortcut A only.
        upsample: logits at input resolution instead of a quarter.
        checkpointing: recompute every block's activations in the backward pass.

    Raises:
        ValueError: unknown depth or shortcut.
    """

    several = True

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) if self.upsample else DilatedResNet.forward(self, image)
