"""SAMed: SAM without prompts, tuned by low-rank updates of its encoder, with a mask token for each class.

Paper: Zhang and Liu, "Customized Segment Anything Model for Medical Image Segmentation" (2023); rows of MoE-SAM Tables
1 to 3. Released: hitachinsk/SAMed at e351840 (MIT); state-dict keys are its own. Images in 0 … 1 are taken as they are.
Its loss is computed at the decoder's quarter resolution: with `deep_supervision` the outputs are [full, quarter], and
the release's loss has the weights [0, 1].
Released weights: SAM's, then `samed_synapse_512` on top, which holds the updates and the decoder but no encoder. The
release means to start mask tokens, mask heads and the quality head at random, yet its loader copies whatever fits
before it fails; so heads 0 to 3 and the inner quality layers are SAM's, and for three classes all of it. So here.
Deviations: rectangles are accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from benchmark.models.layers.fit import crop_to_shape
from benchmark.models.layers.sam.fusion import make_fusion
from benchmark.models.layers.sam.lora import add_lora
from benchmark.models.layers.sam.mask_decoder import MaskDecoder
from benchmark.models.layers.sam.network import SegmentAnything, check_channels, freeze
from benchmark.models.layers.sam.released import fit_lora
from benchmark.models.layers.sam.sizes import DEMO_SIZE, sam_size
from benchmark.models.registry import register


@register("samed", demo={"size": DEMO_SIZE, "rank": 2}, spatial_dims=(2,), decoder="sam.image_encoder.neck")
class SAMed(nn.Module):
    """[B, in, H, W] in 0 … 1 -> logits [B, out, H, W], or with `deep_supervision` [full, quarter resolution].

    Args:
        in_channels, out_channels: 1 (repeated) or 3; classes including background.
        spatial_shape: largest input, 512 x 512 in the release; each side raised to a multiple of 16.
        size: vit_b, vit_l, vit_h, or the fields of a `SamSize`.
        rank: of the updates.
        fusion: what is made of the encoder's layers and added to the embedding: none, add or feb.
        deep_supervision: return the logits at quarter resolution as well.
    """

    unused_parameters = (
        "sam.mask_decoder.iou_prediction_head.*",
        "sam.prompt_encoder.mask_downscaling.*",
        "sam.prompt_encoder.point_embeddings.*",
        "sam.prompt_encoder.not_a_point_embed.*",
    )

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        size: str | Mapping[str, Any] = "vit_b",
        rank: int = 4,
        fusion: str = "none",
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
        check_channels(in_channels)
        sizes = sam_size(size)
        self.rank, self.deep_supervision = rank, deep_supervision
        self.sam = SegmentAnything(
            sizes, spatial_shape, mask_decoder=MaskDecoder(sizes, out_channels), fusion=make_fusion(fusion, sizes)
        )
        add_lora(self.sam.image_encoder, rank)
        freeze(self.sam.image_encoder, but="linear_")

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        quarter, _ = self.sam.unprompted(images)
        full = self.sam.enlarge(quarter, images.shape[2:])
        if not self.deep_supervision:
            return full
        return [full, crop_to_shape(quarter, self.sam.built_shape, images.shape[2:])]

    def adapt_released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """SAM's file, the release's file of updates, or a whole network, in this network's keys and positions."""
        fitted = fit_lora(state, self.sam.image_encoder, self.sam.mask_decoder, self.rank)
        return {f"sam.{key}": value for key, value in fitted.items()}
