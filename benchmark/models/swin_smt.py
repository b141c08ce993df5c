"""Swin SMT: SwinUNETR whose perceptrons in the deeper stages are soft mixtures of experts.

Paper: Plotka, Chrabaszcz, Biecek, "Swin SMT" (MICCAI 2024), section 2. Released: MI2DataLab/SwinSMT @f36f1fc,
`src/models/swin_smt.py` (no licence file; the file carries MONAI's Apache-2.0 header). Nothing of it is copied here:
the parts are MONAI's and `layers/soft_moe.py`. Keys as released. No weights were released.
Rows: n = 8, 16, 32 experts are counted without the v2 stage convolutions (87.01, 114.93, 170.78 M), n = 4 with them
(83.62 M), so `use_v2` is an option of each.

Where paper and release differ, both run:
    router="dynamic" (as released, default): slots computed from the input, no learned matrix.
    router="learned" (as written, equations 2 to 4): a learned slot matrix Φ, m/n slots of each expert, no norms.
      The paper gives no initialisation of Φ; ours has variance 1/d, so that products of normalised tokens have unit
      variance. Φ holds as many numbers as the tokens of a `spatial_shape` patch.
    mask_padding=False (as released, default) or True: only where n does not divide the tokens, see `DynamicSoftMoE`.

The released forward stops at a leftover debug print; it is read without that line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from benchmark.models.layers.fit import round_up
from benchmark.models.layers.soft_moe import DynamicSoftMoE, Form, StaticSoftMoE
from benchmark.models.layers.swin_pyramid import DIVISOR, SwinPyramid
from benchmark.models.registry import register

STAGES = 4


@register(
    "swin_smt",
    demo={"feature_size": 6, "num_heads": (1, 2, 2, 4), "window_size": 4, "num_experts": 4, "expert_ratio": 1},
)
def swin_smt(
    *,
    in_channels: int,
    out_channels: int,
    spatial_shape: Sequence[int],
    num_experts: int = 32,
    num_layers_with_moe: int = 3,
    expert_ratio: float = 4,
    router: Literal["dynamic", "learned"] = "dynamic",
    mask_padding: bool = False,
    soft_moe: Form = "auto",
    feature_size: int = 48,
    **options: Any,
) -> SwinPyramid:
    """Build Swin SMT for [B, in_channels, D, H, W].

    Args:
        in_channels, out_channels: image channels; classes including background.
        spatial_shape: training patch; sets the number of slots of the learned router, nothing else.
        num_experts: n, in every mixture.
        num_layers_with_moe: stages with mixtures, counted from the deepest (3: stages 2, 3 and 4, as published).
        expert_ratio: hidden width of an expert over its input's.
        router: "dynamic" (as released) or "learned" (as written).
        mask_padding: of the dynamic router, see `DynamicSoftMoE`.
        soft_moe: "materialised", "streamed" or "auto": same result, different memory.
        feature_size, **options: those of `SwinPyramid`.
    """
    if not 0 <= num_layers_with_moe <= STAGES:
        raise ValueError(f"num_layers_with_moe has to lie in 0..{STAGES}, not {num_layers_with_moe}")
    if router not in ("dynamic", "learned"):
        raise ValueError(f"router has to be 'dynamic' or 'learned', not {router!r}")
    network = SwinPyramid(
        in_channels=in_channels,
        out_channels=out_channels,
        spatial_dims=len(spatial_shape),
        feature_size=feature_size,
        **options,
    )
    for stage in range(STAGES + 1 - num_layers_with_moe, STAGES + 1):
        dim = feature_size * 2 ** (stage - 1)
        for block in network.stage_blocks(stage):
            if router == "dynamic":
                block.mlp = DynamicSoftMoE(
                    dim,
                    num_experts=num_experts,
                    expert_ratio=expert_ratio,
                    mask_padding=mask_padding,
                    form=soft_moe,
                )
            else:
                block.mlp = StaticSoftMoE(
                    dim,
                    num_slots=slots(spatial_shape, stage, num_experts),
                    num_experts=num_experts,
                    expert_ratio=expert_ratio,
                    norm="none",
                    form=soft_moe,
                )
    return network


def slots(spatial_shape: Sequence[int], stage: int, num_experts: int) -> int:
    """Slots of each expert at a stage: tokens over experts, rounded up; the sides halve once for each stage."""
    tokens = math.prod(side // 2**stage for side in round_up(spatial_shape, (DIVISOR,) * len(spatial_shape)))
    return math.ceil(tokens / num_experts)
