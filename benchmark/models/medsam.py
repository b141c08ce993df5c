"""MedSAM: SAM trained on medical images, all of it but the prompt encoder.

Paper: Ma et al., "Segment Anything in Medical Images" (2024); a row of MoE-SAM Table 1. Released: bowang-lab/MedSAM at
d71e8a1 (Apache-2.0); it is SAM ViT-B at 1024 x 1024, except that images in 0 … 1 are taken without SAM's statistics.
Released weights: `medsam_vit_b`, trained with boxes only. The row of one point is MoE-SAM's own use of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.models.layers.sam.sizes import DEMO_SIZE
from benchmark.models.registry import register
from benchmark.models.sam import SAM, Trained


@register("medsam", demo={"size": DEMO_SIZE}, spatial_dims=(2,), decoder="image_encoder.neck", prompted=True)
def medsam(
    *,
    in_channels: int,
    out_channels: int,
    spatial_shape: Sequence[int],
    size: str | Mapping[str, Any] = "vit_b",
    trained: Trained = "all_but_prompts",
) -> SAM:
    """Arguments as those of `SAM`; the mask is mask 0."""
    return SAM(
        in_channels=in_channels,
        out_channels=out_channels,
        spatial_shape=spatial_shape,
        size=size,
        trained=trained,
        statistics=False,
    )
