"""What 3D UX-Net and 3D RepUX-Net share: a convolutional pyramid of four levels and UNETR's decoder around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from monai.networks.blocks import UnetOutBlock
from torch import Tensor, nn

from benchmark.models.layers.channel_norm import ChannelNorm
from benchmark.models.layers.checkpointing import maybe_checkpoint
from benchmark.models.layers.padding import PadToMultiple
from benchmark.models.layers.unetr_blocks import unetr_block, unetr_up_block


class Pyramid(nn.Module):
    """Stem of stride 2, then stages at 1/2, 1/4, 1/8 and 1/16, each followed by a norm of its own for the decoder.

    Args:
        in_channels: image channels.
        widths, depths: channels and blocks of the four stages.
        block: called with a channel count.
    """

    def __init__(
        self, in_channels: int, widths: Sequence[int], depths: Sequence[int], block: Callable[[int], nn.Module]
    ):
        super().__init__()
        stem = nn.Sequential(nn.Conv3d(in_channels, widths[0], 7, stride=2, padding=3), ChannelNorm(widths[0]))
        self.downsample_layers = nn.ModuleList([stem])
        for before, width in pairwise(widths):
            self.downsample_layers.append(nn.Sequential(ChannelNorm(before), nn.Conv3d(before, width, 2, stride=2)))
        self.stages = nn.ModuleList(
            nn.Sequential(*(block(width) for _ in range(depth))) for width, depth in zip(widths, depths, strict=True)
        )
        for level, width in enumerate(widths):
            self.add_module(f"norm{level}", ChannelNorm(width))

    def forward(self, image: Tensor) -> list[Tensor]:
        levels, features = [], image
        for level, (downsample, stage) in enumerate(zip(self.downsample_layers, self.stages, strict=True)):
            features = stage(downsample(features))
            levels.append(self.get_submodule(f"norm{level}")(features))
        return levels


class PyramidUNet(nn.Module):
    """UNETR's decoder (instance norm without affine) over a `Pyramid`, on sides that are multiples of 16."""

    multiple: Sequence[int] = (16, 16, 16)

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        block: Callable[[int], nn.Module],
        pyramid_name: str,
        widths: Sequence[int] = (48, 96, 192, 384),
        depths: Sequence[int] = (2, 2, 2, 2),
        hidden_size: int = 768,
        checkpointing: bool = False,
    ):
        super().__init__()
        if not len(widths) == len(depths) == 4:
            raise ValueError(f"four widths and four depths are needed, not {tuple(widths)} and {tuple(depths)}")
        self.pyramid_name, self.checkpointing = pyramid_name, checkpointing
        self.add_module(pyramid_name, Pyramid(in_channels, widths, depths, block))
        outputs = [*widths, hidden_size]  # of encoder1 (full resolution) to encoder5 (1/16)
        for level, (before, after) in enumerate(zip([in_channels, *widths], outputs, strict=True), start=1):
            self.add_module(f"encoder{level}", unetr_block(3, before, after))
        for level in (5, 4, 3, 2):
            self.add_module(f"decoder{level}", unetr_up_block(3, outputs[level - 1], outputs[level - 2]))
        self.decoder1 = unetr_block(3, widths[0], widths[0])
        self.out = UnetOutBlock(spatial_dims=3, in_channels=widths[0], out_channels=out_channels)

    def _run(self, block: str, *features: Tensor) -> Tensor:
        return maybe_checkpoint(self.checkpointing, self.get_submodule(block), *features)

    def forward(self, image: Tensor) -> Tensor:
        levels = self.get_submodule(self.pyramid_name)(image)
        skips = [self._run(f"encoder{i}", level) for i, level in enumerate([image, *levels], start=1)]
        features = skips.pop()
        for level in (5, 4, 3, 2):
            features = self._run(f"decoder{level}", features, skips.pop())
        return self.out(self._run("decoder1", features))


class LargeKernelUNet(PadToMultiple[Tensor], PyramidUNet):
    """[B, in_channels, *S] -> [B, out_channels, *S]; other sides are zero-padded at the end and cropped again.

    Args:
        in_channels, out_channels: image channels; classes including background.
        spatial_shape: not used, the network fits any size.
        block: of the pyramid, called with a channel count.
        pyramid_name: attribute of the pyramid, the prefix of its released keys.
        widths, depths: channels and blocks of the four encoder stages.
        hidden_size: channels of the deepest decoder input.
        checkpointing: recompute the convolutional blocks around the pyramid in the backward pass: they work at full
            resolution and hold most of the activations.

    Raises:
        ValueError: not four widths and depths.
    """

    several = True
