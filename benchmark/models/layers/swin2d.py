"""Swin transformer stages in two dimensions and the U-Net that Swin-Unet and M4oE share. Maps have channels last.

Papers: Liu et al., "Swin Transformer" (ICCV 2021); Cao et al., "Swin-Unet" (2021). Keys are those of
HuCaoFighting/Swin-Unet at f48f623, without the attention masks it stores: they follow from the size of the map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmark.models.layers.fit import round_up
from benchmark.models.layers.patches import PatchEmbed, PatchExpand, PatchMerging
from benchmark.models.layers.transformer import Perceptron, init_linear, stage_rates
from benchmark.models.layers.window_block import BlockParts, WindowBlock
from benchmark.models.layers.windows import fit_window

PATCH = 4
STAGES = 4
MULTIPLE = (PATCH * 2 ** (STAGES - 1),) * 2  # sides the stages can halve
MASKS = "*.attn_mask"  # keys of the attention masks that the releases store


class SwinStage(nn.Module):
    """Blocks, every second one shifted, and a change of resolution called `resample` as in the released keys."""

    def __init__(self, blocks: Sequence[BlockParts], **resample: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        for name, module in resample.items():
            self.add_module(name, module)
        self.resample = tuple(resample)

    def forward(self, grid: Tensor, *route: Sequence[int]) -> Tensor:
        for block in self.blocks:
            grid = block(grid, *route)
        for name in self.resample:
            grid = self.get_submodule(name)(grid)
        return grid


class SwinUNet(nn.Module):
    """Swin-Unet up to its last feature map: image [B, in, H, W] -> [B, H, W, width], sides multiples of 32.

    Args:
        in_channels: a single one is repeated to three, as the release does.
        spatial_shape: nominal input size. A stage whose map is not larger than the window gets one window and no shift.
        width: channels of the first stage, doubled from stage to stage.
        depths, heads: blocks and attention heads of the encoder stages, finest first; the decoder mirrors them.
        window: side of the attention windows.
        drop_path: of the deepest block, growing linearly from 0; the decoder has the rates of the mirrored stage.
        feed_forward: called with channels and whether the block is in the encoder.
    """

    recomputed = (MASKS,)  # buffers of the releases

    def __init__(
        self,
        *,
        in_channels: int,
        spatial_shape: Sequence[int],
        width: int = 96,
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        window: int = 7,
        drop_path: float = 0.2,
        feed_forward: Callable[[int, bool], nn.Module] = lambda channels, encoder: Perceptron(channels),
    ) -> None:
        super().__init__()
        if not len(depths) == len(heads) == STAGES:
            raise ValueError(f"depths and heads have {STAGES} entries each")
        widths = [width * 2**stage for stage in range(STAGES)]
        smallest = min(round_up(spatial_shape, MULTIPLE)) // PATCH  # side of the first stage's map
        rates = stage_rates(0, drop_path, depths)

        def blocks(stage: int, encoder: bool) -> list[WindowBlock]:
            side, shift = fit_window(smallest // 2**stage, window)
            return [
                WindowBlock(
                    widths[stage],
                    heads[stage],
                    window=(1, side, side),
                    shift=(0, *(shift * (i % 2),) * 2),
                    drop_path=rate,
                    feed_forward=feed_forward(widths[stage], encoder),
                )
                for i, rate in enumerate(rates[stage])
            ]

        self.width, self.repeat = width, 3 if in_channels == 1 else 1
        self.patch_embed = PatchEmbed(in_channels * self.repeat, width, PATCH)
        merging = [{"downsample": PatchMerging(channels)} for channels in widths[:-1]]
        self.layers = nn.ModuleList(SwinStage(blocks(i, True), **step) for i, step in enumerate([*merging, {}]))
        self.norm = nn.LayerNorm(widths[-1])
        self.layers_up = nn.ModuleList([PatchExpand(widths[-1], widths[-2])])
        self.concat_back_dim = nn.ModuleList([nn.Identity()])
        for stage in reversed(range(STAGES - 1)):
            expand = {"upsample": PatchExpand(widths[stage], widths[stage] // 2)} if stage > 0 else {}
            self.layers_up.append(SwinStage(blocks(stage, False), **expand))
            self.concat_back_dim.append(nn.Linear(2 * widths[stage], widths[stage]))
        self.norm_up = nn.LayerNorm(width)
        self.up = PatchExpand(width, width, scale=PATCH)
        self.apply(init_linear)

    def features(self, image: Tensor, *route: Sequence[int]) -> Tensor:
        """The map before the heads; `route` goes to every feed-forward module."""
        grid, skips = self.patch_embed(image.repeat_interleave(self.repeat, dim=1)), []
        for stage in self.layers:
            skips.append(grid)  # a stage's input, not its output
            grid = stage(grid, *route)
        grid = self.layers_up[0](self.norm(grid))
        levels = zip(self.layers_up[1:], self.concat_back_dim[1:], reversed(skips[:-1]), strict=True)
        for stage, join, skip in levels:
            grid = stage(join(torch.cat([grid, skip], dim=-1)), *route)
        return self.up(self.norm_up(grid))
