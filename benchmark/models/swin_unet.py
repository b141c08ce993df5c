"""Swin-Unet: Swin-T as encoder and, mirrored, as decoder. The backbone of M4oE and its plain row.

Paper: Cao et al., "Swin-Unet" (ECCV workshops 2022), 27.17 M parameters. Released: HuCaoFighting/Swin-Unet at f48f623,
without a licence, so that nothing of it is used but facts; state-dict keys are its own but for stored attention masks.
Released weights: Swin-T of ImageNet, loaded into the encoder and, stage by mirrored stage, into the decoder.
Deviations: none at sides that are 32 times a multiple of the window; other maps are padded with zeros inside, where
the release fails.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any

from torch import Tensor, nn

from benchmark.models.layers.padding import PadToMultiple
from benchmark.models.layers.swin2d import MASKS, MULTIPLE, STAGES, SwinUNet
from benchmark.models.registry import register


class _SwinUnet(SwinUNet):
    """The network on sides that are multiples of 32; see `SwinUnet`."""

    multiple: Sequence[int] = MULTIPLE
    output: nn.Module

    def forward(self, image: Tensor) -> Tensor:
        return self.output(self.features(image).permute(0, 3, 1, 2))


@register(
    "swin_unet",
    demo={"width": 16, "heads": (1, 2, 4, 8), "window": 4},
    spatial_dims=(2,),
    decoder="layers_up.0",
    channels_last=True,
)
class SwinUnet(PadToMultiple[Tensor], _SwinUnet):
    """[B, in, H, W] -> [B, out, H, W]. Any H and W.

    Args:
        in_channels, out_channels: image channels, a single one repeated to three; classes including background.
        spatial_shape: nominal input size, 224 x 224 in the paper; it fixes the windows of small maps.
        **options: width, depths, heads, window, drop_path of `SwinUNet`.
    """

    def __init__(self, *, in_channels: int, out_channels: int, spatial_shape: Sequence[int], **options: Any) -> None:
        super().__init__(in_channels=in_channels, spatial_shape=spatial_shape, **options)
        self.output = nn.Conv2d(self.width, out_channels, 1, bias=False)

    def adapt_released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of Swin-T without its classifier, and with each stage also in the mirrored one."""
        state = {key.removeprefix("swin_unet."): value for key, value in state.items()}
        if "head.weight" not in state:
            return state
        adapted = {key: value for key, value in state.items() if not key.startswith("head.")}
        own = self.state_dict()
        for key, value in state.items():
            stage = re.match(r"layers\.(\d)\.", key)
            mirrored = stage and f"layers_up.{STAGES - 1 - int(stage[1])}.{key[stage.end() :]}"
            if mirrored in own and own[mirrored].shape == value.shape:
                adapted[mirrored] = value
        return {key: value for key, value in adapted.items() if key in own or fnmatch(key, MASKS)}
