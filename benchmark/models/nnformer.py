"""nnFormer (Zhou et al. 2021, "nnFormer: Interleaved Transformer for Volumetric Segmentation").

Facts: 282857341/nnFormer at d48aaeb (MIT), `nnFormer_synapse.py` and `nnFormer_tumor.py`; parameter names are the
released ones. Strided convolutions embed and down-sample, windowed attention works at four resolutions, and the first
block of each decoder stage attends from the up-sampled features, unprojected, to the skip.

Variants:

- `variant`: the Synapse file strides its two embedding convolutions (p0, p1/2, p2/2) and (p0/2, p1/2, p2/2), needs
  patches of 2x4x4 and gives a decoder stage the heads of the encoder stage of its width; the tumor file strides both by
  half, needs 4x4x4 and gives a decoder stage the heads of the next deeper one.
- `relative_index="as_released"`: the index into the bias table uses 3w-1 rows per step of the first axis, so that
  different offsets share rows and most of the table is never read; the released weights were trained with it.
  `"as_written"`: (2w-1)^2 rows, one per offset, as in Swin.

The authors start training from weights that are not published, so a training from scratch is not theirs.

`spatial_shape` fixes the windows of the stages: one that is not larger than its window on the shortest side becomes
global and is not shifted. Other inputs than `spatial_shape` are accepted (the release asserts it): zero-padded at the
end to multiples of eight patches, cropped again, with those windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from benchmark.models.layers.checkpointing import maybe_checkpoint
from benchmark.models.layers.fit import round_up
from benchmark.models.layers.nnformer_blocks import DecoderStage, Downsample, EncoderStage, Head, PatchEmbedding
from benchmark.models.layers.padding import PadToMultiple
from benchmark.models.layers.transformer import stage_rates
from benchmark.models.layers.window_block import BlockParts, CrossBlock, WindowBlock
from benchmark.models.layers.windows import fit_window
from benchmark.models.registry import register

STAGES = 4
PATCHES = {"synapse": (2, 4, 4), "tumor": (4, 4, 4)}
INDICES = ("as_released", "as_written")


class Encoder(nn.Module):
    """Embedding and four stages; returns the normalised output of each."""

    def __init__(self, embedding: PatchEmbedding, stages: Sequence[EncoderStage], widths: Sequence[int]):
        super().__init__()
        self.patch_embed = embedding
        self.layers = nn.ModuleList(stages)
        for level, width in enumerate(widths):
            self.add_module(f"norm{level}", nn.LayerNorm(width))

    def forward(self, image: Tensor, checkpointing: bool) -> list[Tensor]:
        grid, levels = self.patch_embed(image), []
        for level, stage in enumerate(self.layers):
            grid = maybe_checkpoint(checkpointing, stage, grid)
            levels.append(self.get_submodule(f"norm{level}")(grid))
            assert isinstance(stage, EncoderStage)
            if stage.downsample is not None:
                grid = stage.downsample(grid)
        return levels


class Decoder(nn.Module):
    """Three stages, stored finest first as in the released keys; returns their outputs, finest first."""

    def __init__(self, stages: Sequence[DecoderStage]):
        super().__init__()
        self.layers = nn.ModuleList(stages)

    def forward(self, levels: list[Tensor], checkpointing: bool) -> list[Tensor]:
        grid = levels[-1]
        outputs: list[Tensor] = []
        for stage, skip in zip(reversed(self.layers), reversed(levels[:-1]), strict=True):
            grid = maybe_checkpoint(checkpointing, stage, grid, skip)
            outputs.insert(0, grid)
        return outputs


def _window_blocks(
    channels: int,
    heads: int,
    rates: Sequence[float],
    *,
    window: int,
    shift: int,
    relative_index: str,
    crossed: bool,
) -> list[BlockParts]:
    """Blocks of one stage, every second one shifted; a crossed stage begins with a `CrossBlock`."""
    strides = (3 * window - 1, 2 * window - 1, 1) if relative_index == "as_released" else None
    return [
        (CrossBlock if crossed and i == 0 else WindowBlock)(
            channels,
            heads,
            window=(window,) * 3,
            shift=(shift * (i % 2),) * 3,
            drop_path=rate,
            index_strides=strides,
        )
        for i, rate in enumerate(rates)
    ]


class InterleavedUNet(nn.Module):
    """The network on sides that are multiples of eight patches; see `NNFormer`."""

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        width: int = 192,
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (6, 12, 24, 48),
        windows: Sequence[int] = (4, 4, 8, 4),
        variant: Literal["synapse", "tumor"] = "synapse",
        relative_index: Literal["as_released", "as_written"] = "as_released",
        drop_path: float = 0.2,
        deep_supervision: bool = False,
        checkpointing: bool = False,
    ):
        super().__init__()
        if variant not in PATCHES or relative_index not in INDICES:
            raise ValueError(f"variant is one of {tuple(PATCHES)}, relative_index one of {INDICES}")
        if not len(depths) == len(heads) == len(windows) == STAGES:
            raise ValueError(f"depths, heads and windows have {STAGES} entries each")
        self.deep_supervision, self.checkpointing = deep_supervision, checkpointing
        patch = PATCHES[variant]
        self.multiple: Sequence[int] = tuple(8 * side for side in patch)
        finest = [side // length for side, length in zip(round_up(spatial_shape, self.multiple), patch, strict=True)]
        widths = [width * 2**stage for stage in range(STAGES)]

        def blocks(stage: int, heads: int, rates: Sequence[float], crossed: bool) -> list[BlockParts]:
            window, shift = fit_window(min(finest) // 2**stage, windows[stage])
            return _window_blocks(
                widths[stage],
                heads,
                rates,
                window=window,
                shift=shift,
                relative_index=relative_index,
                crossed=crossed,
            )

        drops = stage_rates(0, drop_path, depths)
        stages = [
            EncoderStage(
                blocks(stage, heads[stage], drops[stage], crossed=False),
                Downsample(widths[stage]) if stage < STAGES - 1 else None,
            )
            for stage in range(STAGES)
        ]
        self.model_down = Encoder(PatchEmbedding(in_channels, width, patch[0]), stages, widths)
        drops = stage_rates(0, drop_path, depths[-2::-1])[::-1]  # grows towards the finest stage
        deeper = 0 if variant == "synapse" else 1
        self.decoder = Decoder(
            [
                DecoderStage(blocks(stage, heads[stage + deeper], drops[stage], crossed=True), widths[stage])
                for stage in range(STAGES - 1)
            ]
        )
        levels = STAGES - 1 if deep_supervision else 1
        self.final = nn.ModuleList(Head(widths[level], out_channels, patch) for level in range(levels))

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        levels = self.decoder(self.model_down(image, self.checkpointing), self.checkpointing)
        if not self.deep_supervision:
            return self.final[0](levels[0])
        return [head(level) for head, level in zip(self.final, levels, strict=True)]


@register("nnformer", demo={"width": 12, "heads": (1, 2, 4, 4), "variant": "tumor"})
class NNFormer(PadToMultiple[Tensor | list[Tensor]], InterleavedUNet):
    """[B, in_channels, *S] -> [B, out_channels, *S]; with deep supervision a list of three, full resolution first.

    Args:
        in_channels, out_channels: image channels; classes including background.
        spatial_shape: input size for which the windows are laid out.
        width: channels of the first stage, doubled at each; the tumor release uses 96.
        depths, heads, windows: per stage, finest first.
        variant, relative_index: see the module.
        drop_path: largest rate of stochastic depth.
        deep_supervision: return three levels (two more heads).
        checkpointing: recompute every stage's activations in the backward pass.

    Raises:
        ValueError: unknown variant, not four stages, or heads that do not divide the channels.
    """
