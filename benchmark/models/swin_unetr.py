"""SwinUNETR, versions 1 and 2, in 2-D and 3-D.

Papers: Hatamizadeh et al., "Swin UNETR" (v1); He et al., "SwinUNETR-V2" (a residual convolution before each stage).
Licence: Apache-2.0 (MONAI); the parts are MONAI's own classes, state-dict keys as there.
Rows: Swin SMT Table 1 "S", "B", "L" are feature_size 24, 48, 96 with use_v2 (18,349,744 / 72,767,752 / 290,402,104
parameters at 118 classes); the ablation's baseline of Table 2, 62.19 M, is feature_size 48 without it. The 2-D rows of
the Swin-UMamba tables are feature_size 48, v1.
Released weights: MONAI-extra-test-data 0.8.1 (`model_swinvit.pt`, `swin_unetr.*_pretrained.pt`), v1, legacy merging.
Deviations: none at sides that are multiples of 32; other sides are padded with zeros inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmark.models.layers.swin_pyramid import SwinPyramid
from benchmark.models.registry import register


@register(
    "swin_unetr",
    demo={"feature_size": 8, "num_heads": (1, 2, 4, 8), "window_size": 4},
    spatial_dims=(2, 3),
    decoder="encoder10",
)
def swin_unetr(*, in_channels: int, out_channels: int, spatial_shape: Sequence[int], **options: Any) -> SwinPyramid:
    """Options: those of `SwinPyramid`. Any input size; `spatial_shape` only tells 2-D from 3-D."""
    return SwinPyramid(in_channels=in_channels, out_channels=out_channels, spatial_dims=len(spatial_shape), **options)
