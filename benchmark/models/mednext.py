"""MedNeXt (Roy et al. 2023, "MedNeXt: Transformer-driven Scaling of ConvNets for Medical Image Segmentation").

Facts: MIC-DKFZ/MedNeXt at 0b78ed8 (Apache-2.0), `MedNextV1.py`; parameter names are the released ones. No weights are
published. MONAI 1.6.1's MedNeXt is the same function for size S only: its first two down blocks take the expansion
ratio of the wrong stage in B, M and L, so this is not a wrapper.

A block is depth-wise k^3 convolution - GroupNorm with one group per channel - 1x1x1 expansion - GELU - 1x1x1
compression, residual. Down block i expands by the ratio of the stage it leads to, up block i likewise. Skips are added.

UpKern: a network with `kernel_size=5` takes the weights of a trained one with 3 through `load_released`, every
depth-wise kernel resized linearly (trilinearly in the paper's section 2.3).

Deviations: sides that are not multiples of 16 are padded with zeros at the end and cropped again (the release fails);
`dummy_tensor`, which the release owns only to make its checkpointing work, is kept for its key but is not trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.checkpointing import maybe_checkpoint
from benchmark.models.layers.padding import PadToMultiple
from benchmark.models.registry import register

LEVELS = 4
CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}  # by the number of spatial dimensions
TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
SIZES = {  # expansion ratios, blocks; nine stages from the finest encoder stage to the finest decoder stage
    "S": ((2,) * 9, (2,) * 9),
    "B": ((2, 3, 4, 4, 4, 4, 4, 3, 2), (2,) * 9),
    "M": ((2, 3, 4, 4, 4, 4, 4, 3, 2), (3, 4, 4, 4, 4, 4, 4, 4, 3)),
    "L": ((3, 4, 8, 8, 8, 8, 8, 4, 3), (3, 4, 8, 8, 8, 8, 8, 4, 3)),
}


class Block(nn.Module):
    """Depth-wise convolution, instance-wise norm, 1x1x1 expansion and compression, with a residual."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int, kernel_size: int, dimensions: int):
        super().__init__()
        convolution = CONVOLUTIONS[dimensions]
        self.conv1 = self._depthwise(in_channels, kernel_size, dimensions)
        self.norm = nn.GroupNorm(in_channels, in_channels)
        self.conv2 = convolution(in_channels, expansion * in_channels, 1)
        self.conv3 = convolution(expansion * in_channels, out_channels, 1)

    @staticmethod
    def _depthwise(channels: int, kernel_size: int, dimensions: int) -> nn.Module:
        return CONVOLUTIONS[dimensions](channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)

    def _transform(self, features: Tensor) -> Tensor:
        return self.conv3(functional.gelu(self.conv2(self.norm(self.conv1(features)))))

    def forward(self, features: Tensor) -> Tensor:
        return features + self._transform(features)


class DownBlock(Block):
    """A block at stride 2 that doubles the channels; the residual is a strided 1x1x1 convolution."""

    def __init__(self, in_channels: int, expansion: int, kernel_size: int, dimensions: int):
        super().__init__(in_channels, 2 * in_channels, expansion, kernel_size, dimensions)
        self.res_conv = CONVOLUTIONS[dimensions](in_channels, 2 * in_channels, 1, stride=2)

    @staticmethod
    def _depthwise(channels: int, kernel_size: int, dimensions: int) -> nn.Module:
        convolution, padding = CONVOLUTIONS[dimensions], kernel_size // 2
        return convolution(channels, channels, kernel_size, stride=2, padding=padding, groups=channels)

    def forward(self, features: Tensor) -> Tensor:
        return self.res_conv(features) + self._transform(features)


class UpBlock(Block):
    """A block at stride 1/2 that halves the channels.

    A transposed convolution of stride 2 gives sides of 2n - 1; one voxel of zeros in front of each makes them 2n.
    """

    def __init__(self, in_channels: int, expansion: int, kernel_size: int, dimensions: int):
        super().__init__(in_channels, in_channels // 2, expansion, kernel_size, dimensions)
        self.res_conv = TRANSPOSED[dimensions](in_channels, in_channels // 2, 1, stride=2)

    @staticmethod
    def _depthwise(channels: int, kernel_size: int, dimensions: int) -> nn.Module:
        convolution, padding = TRANSPOSED[dimensions], kernel_size // 2
        return convolution(channels, channels, kernel_size, stride=2, padding=padding, groups=channels)

    def forward(self, features: Tensor) -> Tensor:
        return functional.pad(self._transform(features) + self.res_conv(features), (1, 0) * (features.ndim - 2))


class Head(nn.Module):
    """1x1x1 transposed convolution to logits, nested one level deep as in the released keys."""

    def __init__(self, in_channels: int, out_channels: int, dimensions: int):
        super().__init__()
        self.conv_out = TRANSPOSED[dimensions](in_channels, out_channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.conv_out(features)


class ConvNeXtUNet(nn.Module):
    """The network on sides that are multiples of 16; see `MedNeXt`."""

    out_0: Head

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        size: Literal["S", "B", "M", "L"] = "L",
        kernel_size: int = 3,
        width: int = 32,
        deep_supervision: bool = False,
        checkpointing: bool = False,
    ):
        super().__init__()
        if size not in SIZES:
            raise ValueError(f"unknown size {size!r}; known: {', '.join(SIZES)}")
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, not {kernel_size}")
        self.deep_supervision, self.checkpointing = deep_supervision, checkpointing
        dimensions = len(spatial_shape)
        self.multiple: Sequence[int] = (2**LEVELS,) * dimensions
        expansions, depths = SIZES[size]
        widths = [width * 2**level for level in range(LEVELS + 1)]

        def stage(index: int, level: int) -> nn.Sequential:
            sides = (widths[level], widths[level], expansions[index], kernel_size, dimensions)
            return nn.Sequential(*(Block(*sides) for _ in range(depths[index])))

        self.stem = CONVOLUTIONS[dimensions](in_channels, width, 1)
        for level in range(LEVELS):
            self.add_module(f"enc_block_{level}", stage(level, level))
            self.add_module(f"down_{level}", DownBlock(widths[level], expansions[level + 1], kernel_size, dimensions))
        self.bottleneck = stage(LEVELS, LEVELS)
        for level in reversed(range(LEVELS)):
            index = 2 * LEVELS - level
            self.add_module(f"up_{level}", UpBlock(widths[level + 1], expansions[index], kernel_size, dimensions))
            self.add_module(f"dec_block_{level}", stage(index, level))
        for level in range(LEVELS + 1 if deep_supervision else 1):
            self.add_module(f"out_{level}", Head(widths[level], out_channels, dimensions))
        self.dummy_tensor = nn.Parameter(torch.ones(1), requires_grad=False)

    def _run(self, name: str, features: Tensor) -> Tensor:
        return maybe_checkpoint(self.checkpointing, self.get_submodule(name), features)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        features, skips = self.stem(image), []
        for level in range(LEVELS):
            skips.append(self._run(f"enc_block_{level}", features))
            features = self._run(f"down_{level}", skips[-1])
        features = self._run("bottleneck", features)
        levels = [features]
        for level in reversed(range(LEVELS)):
            features = self._run(f"dec_block_{level}", skips.pop() + self._run(f"up_{level}", features))
            levels.insert(0, features)
        if not self.deep_supervision:
            return self.out_0(features)
        return [self.get_submodule(f"out_{level}")(features) for level, features in enumerate(levels)]

    def adapt_released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """UpKern: bring depth-wise kernels of another size to this network's by trilinear interpolation."""
        own = self.state_dict()
        return {key: _resize_kernel(tensor, own[key].shape) if key in own else tensor for key, tensor in state.items()}


def _resize_kernel(kernel: Tensor, shape: torch.Size) -> Tensor:
    if kernel.ndim < 4 or kernel.shape == shape or kernel.shape[:2] != shape[:2]:
        return kernel
    mode = {4: "bilinear", 5: "trilinear"}[kernel.ndim]
    return functional.interpolate(kernel.float(), size=shape[2:], mode=mode, align_corners=False)


@register("mednext", demo={"size": "S", "width": 4}, spatial_dims=(2, 3), decoder="up_3")
class MedNeXt(PadToMultiple[Tensor | list[Tensor]], ConvNeXtUNet):
    """[B, in_channels, *S] -> [B, out_channels, *S]; with deep supervision a list of five, full resolution first, in
    training and evaluation.

    Args:
        in_channels, out_channels: image channels; classes including background.
        spatial_shape: two or three sides, which decide the convolutions (`dim` of the release) and nothing else.
        size: S, B, M or L (5.6, 10.5, 17.6, 61.8 M parameters with kernel 3).
        kernel_size: odd side of the depth-wise kernels; the paper uses 3 and 5.
        width: channels at full resolution, doubled at each of four levels.
        deep_supervision: return five levels (four more heads).
        checkpointing: recompute activations in the backward pass; the release does so for M and L.

    Raises:
        ValueError: unknown size, or an even kernel.
    """

    several = True
