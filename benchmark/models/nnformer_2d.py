"""nnFormer in two dimensions: our own port, since none was released.

Paper: Zhou et al., "nnFormer" (2021), three-dimensional throughout; the 2-D rows of both Swin-UMamba papers (60 M,
50.2 / 125.5 / 136.7 G) come from a network that nobody published. This one follows the written three-dimensional
design, dimension by dimension: strided convolutions embed and down-sample, windowed attention works at four
resolutions, and the first block of each decoder stage attends from the up-sampled features, unprojected, to the skip.
Deviations: it is not the papers' network. Width 192 and windows 5, 5, 10, 5 (a 64th, or for the third stage a 32nd, of
a 320 pixel side) come closest to the printed FLOPs, at about twice the printed parameters; no width, depths and windows
that were tried give both. The bias table has one row per offset ("as written"; the released 3-D code shares rows).
Sides that are no multiples of 32 are padded with zeros inside.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from benchmark.models.layers.fit import round_up
from benchmark.models.layers.padding import PadToMultiple
from benchmark.models.layers.swin2d import MULTIPLE, STAGES, SwinStage
from benchmark.models.layers.transformer import stage_rates
from benchmark.models.layers.window_block import BlockParts, CrossBlock, WindowBlock
from benchmark.models.layers.windows import fit_window
from benchmark.models.registry import register

PATCH = 4


class ChannelsLast(nn.Module):
    """A module for [B, C, H, W] applied to [B, H, W, C]."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, grid: Tensor) -> Tensor:
        return self.module(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def make_embedding(in_channels: int, channels: int) -> nn.Sequential:
    """Image with channels last -> [B, H / 4, W / 4, channels], by two pairs of convolutions of which one is strided."""

    def pair(before: int, after: int) -> list[nn.Module]:
        strided, plain = nn.Conv2d(before, after, 3, 2, 1), nn.Conv2d(after, after, 3, 1, 1)
        return [ChannelsLast(strided), nn.GELU(), nn.LayerNorm(after), ChannelsLast(plain)]

    half = channels // 2
    return nn.Sequential(
        *pair(in_channels, half), nn.GELU(), nn.LayerNorm(half), *pair(half, channels), nn.LayerNorm(channels)
    )


def make_merging(channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, 2 * channels, 3, 2, 1)
    return nn.Sequential(nn.GELU(), nn.LayerNorm(channels), ChannelsLast(convolution))


class DecoderStage(nn.Module):
    def __init__(self, cross: BlockParts, rest: Sequence[BlockParts], channels: int) -> None:
        super().__init__()
        expand = nn.ConvTranspose2d(2 * channels, channels, 2, 2)
        self.upsample = nn.Sequential(nn.LayerNorm(2 * channels), ChannelsLast(expand))
        self.cross, self.rest = cross, SwinStage(rest)

    def forward(self, grid: Tensor, skip: Tensor) -> Tensor:
        return self.rest(self.cross(self.upsample(grid), skip))


class _NNFormer2d(nn.Module):
    """The network on sides that are multiples of 32; see `NNFormer2d`."""

    multiple: Sequence[int] = MULTIPLE
    embedding: nn.Sequential
    stages: nn.ModuleList
    norms: nn.ModuleList
    mergings: nn.ModuleList
    decoder: nn.ModuleList
    heads: nn.ModuleList
    deep_supervision: bool

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        grid, skips = self.embedding(image.permute(0, 2, 3, 1)), []
        for stage, norm, merging in zip(self.stages, self.norms, [*self.mergings, None], strict=True):
            grid = stage(grid)
            skips.append(norm(grid))
            grid = grid if merging is None else merging(grid)
        grid = skips.pop()
        maps: list[Tensor] = []
        for stage in self.decoder:
            grid = stage(grid, skips.pop())
            maps.insert(0, grid.permute(0, 3, 1, 2))
        levels = [head(features) for head, features in zip(self.heads, maps, strict=False)]
        return levels if self.deep_supervision else levels[0]


@register(
    "nnformer_2d",
    demo={"width": 16, "heads": (1, 2, 4, 8), "windows": (4, 4, 4, 2), "deep_supervision": False},
    spatial_dims=(2,),
    decoder="decoder.0",
    channels_last=True,
)
class NNFormer2d(PadToMultiple[Tensor | list[Tensor]], _NNFormer2d):
    """[B, in, H, W] -> [B, out, H, W]; with deep supervision a list at 1, 1/2, 1/4. Any H and W.

    Args:
        in_channels, out_channels: image channels; classes including background.
        spatial_shape: nominal input size; a stage whose map is not larger than its window gets one, unshifted.
        width: channels at a quarter of the resolution, doubled from stage to stage.
        depths, heads, windows: per stage, finest first.
        drop_path: of the deepest block, growing linearly from 0; a decoder stage has its encoder stage's rates.
        deep_supervision: return three levels; without it the two coarse heads are not built.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        width: int = 192,
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (6, 12, 24, 48),
        windows: Sequence[int] = (5, 5, 10, 5),
        drop_path: float = 0.2,
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
        if not len(depths) == len(heads) == len(windows) == STAGES:
            raise ValueError(f"depths, heads and windows have {STAGES} entries each")
        self.deep_supervision = deep_supervision
        widths = [width * 2**stage for stage in range(STAGES)]
        rates = stage_rates(0, drop_path, depths)
        finest = min(round_up(spatial_shape, MULTIPLE)) // PATCH

        def blocks(stage: int, crossed: bool = False) -> list[BlockParts]:
            window, shift = fit_window(finest // 2**stage, windows[stage])
            return [
                (CrossBlock if crossed and i == 0 else WindowBlock)(
                    widths[stage],
                    heads[stage],
                    window=(1, window, window),
                    shift=(0, *(shift * (i % 2),) * 2),
                    drop_path=rate,
                )
                for i, rate in enumerate(rates[stage])
            ]

        self.embedding = make_embedding(in_channels, width)
        self.stages = nn.ModuleList(SwinStage(blocks(stage)) for stage in range(STAGES))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for channels in widths)
        self.mergings = nn.ModuleList(make_merging(channels) for channels in widths[:-1])
        self.decoder = nn.ModuleList()
        for stage in reversed(range(STAGES - 1)):
            cross, *rest = blocks(stage, crossed=True)
            self.decoder.append(DecoderStage(cross, rest, widths[stage]))
        levels = STAGES - 1 if deep_supervision else 1
        self.heads = nn.ModuleList(nn.ConvTranspose2d(widths[i], out_channels, PATCH, PATCH) for i in range(levels))
