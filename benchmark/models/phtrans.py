"""PHTrans of Liu et al. (Liu et al. 2022, the efficient two-stage FLARE22 system of lseventeen; PHTrans: MICCAI 2022).

Facts: lseventeen/FLARE22-TwoStagePHTrans at 4d4b16f (Apache-2.0), `models/phtrans.py`; parameter names are the released
ones ("frist_conv" included). A U-Net of five resolutions whose three deepest run convolutions and Swin attention in
parallel and sum them. No weights are linked. The challenge system runs it twice, coarse at 64^3 and fine at 96x192x192,
after pseudo-labelling with a larger network. With `first_stage` the network holds a coarse one beside itself, which was
trained before it and learns no more; `inference.two_stages` asks it where to look.

Variants: the release passes its dropout rate as `qkv_bias`, which is 0, so that queries, keys and values have no bias
(`qkv_bias=False`, the default, and what 6.68 M parameters are counted with); as written they have one.

Deviations: window masks are computed from the input at hand instead of kept as buffers, so that any size is accepted
(zero-padded at the end to multiples of 16 windows, cropped again); the release asserts one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.errors import InputError
from benchmark.models.layers.checkpointing import maybe_checkpoint
from benchmark.models.layers.padding import PadToMultiple
from benchmark.models.layers.transformer import Perceptron, init_linear, stage_rates
from benchmark.models.layers.window_block import WindowBlock
from benchmark.models.registry import register
from benchmark.models.released import LoadReport

FIRST_STAGE = "first_stage"
LEVELS, CONV_ONLY = 5, 2  # resolutions, and how many of the finest have no attention
SLOPE = 0.02


class ConvUnit(nn.Module):
    """Convolution - dropout of whole channels - instance norm - GELU."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float):
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, 3, padding=1)
        self.dropout = nn.Dropout3d(dropout)
        self.instnorm = nn.InstanceNorm3d(out_channels, affine=True)

    def forward(self, features: Tensor) -> Tensor:
        return functional.gelu(self.instnorm(self.dropout(self.conv(features))))


class Stage(nn.Module):
    """Resample, then two convolutions beside the Swin blocks (or beside nothing), summed.

    Args:
        before: channels of the input; of an image for the first stage, which is not resampled.
        resample: "none", "down" or "up".
        blocks: Swin blocks; empty in the stages with convolutions only.
    """

    def __init__(self, before: int, channels: int, resample: str, blocks: Sequence[WindowBlock], dropout: float):
        super().__init__()
        self.resample = resample
        if resample == "none":
            self.frist_conv = nn.Conv3d(before, channels, 1)
        else:
            convolution = nn.Conv3d if resample == "down" else nn.ConvTranspose3d
            self.down_or_upsample = nn.Sequential(
                convolution(before, channels, 2, stride=2, bias=False), nn.InstanceNorm3d(channels, affine=True)
            )
        inputs = 2 * channels if resample == "up" else channels
        self.conv_blocks = nn.Sequential(ConvUnit(inputs, channels, dropout), ConvUnit(channels, channels, dropout))
        if blocks:
            self.swin_blocks = nn.Sequential(*blocks)
        self.attends = bool(blocks)

    def forward(self, features: Tensor, skip: Tensor | None = None) -> Tensor:
        features = self.frist_conv(features) if self.resample == "none" else self.down_or_upsample(features)
        joined = features if skip is None else torch.cat((features, skip), dim=1)
        if self.attends:
            features = features if skip is None else features + skip
            features = self.swin_blocks(features.movedim(1, -1)).movedim(-1, 1)
        return self.conv_blocks(joined) + features


class Head(nn.Module):
    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.proj = nn.Conv3d(channels, classes, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return self.proj(features)


class ParallelUNet(nn.Module):
    """The network on sides that are multiples of 16 windows; see `PHTrans`."""

    recomputed = ("*.attn_mask",)  # buffers of the release

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        width: int = 16,
        width_limit: int = 200,
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: int = 4,
        window: Sequence[int] = (3, 4, 4),
        mlp_ratio: float = 1.0,
        qkv_bias: bool = False,
        dropout: float = 0.1,
        drop_path: float = 0.1,
        deep_supervision: bool = True,
        checkpointing: bool = False,
    ):
        super().__init__()
        if len(depths) < LEVELS - CONV_ONLY:
            raise ValueError(f"depths has at least {LEVELS - CONV_ONLY} entries, not {tuple(depths)}")
        self.deep_supervision, self.checkpointing = deep_supervision, checkpointing
        self.multiple: Sequence[int] = tuple(2 ** (LEVELS - 1) * side for side in window)
        self.unused_parameters = () if deep_supervision else tuple(f"seg_outputs.{i}.*" for i in range(1, LEVELS - 1))
        widths = [min(width * 2**level, width_limit) for level in range(LEVELS)]
        rates: list[list[float]] = [[]] * CONV_ONLY + stage_rates(0, drop_path, depths)

        def blocks(level: int) -> list[WindowBlock]:
            return [
                WindowBlock(
                    widths[level],
                    heads,
                    window=window,
                    shift=[side // 2 * (i % 2) for side in window],
                    drop_path=rate,
                    feed_forward=Perceptron(widths[level], mlp_ratio),
                    qkv_bias=qkv_bias,
                )
                for i, rate in enumerate(rates[level])
            ]

        self.down_layers = nn.ModuleList([Stage(in_channels, widths[0], "none", blocks(0), dropout)])
        for level in range(1, LEVELS):
            self.down_layers.append(Stage(widths[level - 1], widths[level], "down", blocks(level), dropout))
        self.up_layers = nn.ModuleList(
            Stage(widths[level + 1], widths[level], "up", blocks(level), dropout)
            for level in reversed(range(LEVELS - 1))
        )
        self.seg_outputs = nn.ModuleList(Head(channels, out_channels) for channels in widths[:-1])
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        features, skips = image, []
        for stage in self.down_layers:
            features = maybe_checkpoint(self.checkpointing, stage, features)
            skips.append(features)
        skips.pop()
        levels: list[Tensor] = []
        for stage in self.up_layers:
            features = maybe_checkpoint(self.checkpointing, stage, features, skips.pop())
            levels.insert(0, features)
        if not self.deep_supervision:
            return self.seg_outputs[0](features)
        return [head(level) for head, level in zip(self.seg_outputs, levels, strict=True)]


def _initialise(module: nn.Module) -> None:
    init_linear(module)
    if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@register("phtrans", demo={"width": 4, "width_limit": 32, "window": (2, 2, 2), "heads": 2})
class PHTrans(PadToMultiple[Tensor | list[Tensor]], ParallelUNet):
    """[B, in_channels, *S] -> [B, out_channels, *S]; with deep supervision a list of four, full resolution first.

    The defaults are those of the fine stage; the coarse one has `window=(4, 4, 4)`.

    Args:
        in_channels, out_channels: image channels; classes including background.
        spatial_shape: not used, the network fits any size.
        width, width_limit: channels at full resolution, doubled at each level up to the limit.
        depths: Swin blocks at 1/4, 1/8, 1/16. The release lists a fourth entry, which no stage uses but over which
            the stochastic-depth rates are spread too.
        heads, window, mlp_ratio, qkv_bias: of the Swin blocks; see the module for `qkv_bias`.
        dropout, drop_path: of convolution channels; largest rate of stochastic depth.
        deep_supervision: return four levels; their heads exist in any case.
        checkpointing: recompute every stage's activations in the backward pass.
        first_stage: window of a coarse network of two classes that goes with this one, (4, 4, 4) in the release; None:
            there is none. It takes no part in `forward`.

    Raises:
        ValueError: fewer than three depths, or heads that do not divide the channels.
    """

    uncounted = (FIRST_STAGE + ".*",)  # the release, too, states the size of one network

    def __init__(self, *, first_stage: Sequence[int] | None = None, **options: Any) -> None:
        super().__init__(**options)
        if first_stage is not None:
            coarse = {"out_channels": 2, "window": first_stage, "deep_supervision": False, "checkpointing": False}
            self.first_stage = PHTrans(**{**options, **coarse}).requires_grad_(False)

    def begin_from(self, part: str, state: dict[str, Tensor]) -> LoadReport:
        """Take over a trained coarse network as the first stage.

        Args:
            part: `first_stage`.
            state: of a `phtrans` with two classes and the first stage's windows.

        Raises:
            InputError: another part, or a network without a first stage or with another one.
        """
        try:
            if part != FIRST_STAGE:
                raise AttributeError(part)
            self.first_stage.load_state_dict(state)
        except (AttributeError, RuntimeError) as error:
            raise InputError(
                f"{part} of phtrans cannot begin from these weights",
                where="paper_tables: begins_from",
                expected="first_stage of a network that has one, and weights of a phtrans of two classes like it",
                found=str(error).splitlines()[-1].strip(),
            ) from error
        loaded = tuple(f"{FIRST_STAGE}.{key}" for key in state)
        return LoadReport(loaded, missing=tuple(key for key in self.state_dict() if key not in loaded))
