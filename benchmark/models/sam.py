"""SAM, Segment Anything: a vision transformer, and a decoder that is asked by points, boxes and masks.

Paper: Kirillov et al., "Segment Anything" (2023); rows of MoE-SAM Tables 1 and 3. Released:
facebookresearch/segment-anything at dca509f (Apache-2.0); state-dict keys are its own.
Released weights: `sam_vit_b`, `_l` and `_h`, for 1024 x 1024 pixels; `adapt_released` resizes their positions.
Neither MoE-SAM's paper nor its code says how SAM was tuned. By default the mask decoder is trained, which is what the
freezing rule of its code leaves, and mask 0 is used, without a best-of-three oracle.
Deviations: rectangles are accepted and are not padded to squares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from torch import Tensor

from benchmark.models.layers.sam.fusion import make_fusion
from benchmark.models.layers.sam.network import check_channels, freeze
from benchmark.models.layers.sam.prompted import MaskChoice, PromptedSam
from benchmark.models.layers.sam.released import fit_released
from benchmark.models.layers.sam.sizes import DEMO_SIZE, sam_size
from benchmark.models.registry import register

Trained = Literal["decoder", "all_but_prompts", "all"]
DEMO = {"size": DEMO_SIZE, "trained": "all_but_prompts"}  # an encoder at random has to be trained


@register("sam", demo=DEMO, spatial_dims=(2,), decoder="image_encoder.neck", prompted=True)
class SAM(PromptedSam):
    """`forward`: [B, in, H, W] in 0 … 1 -> class logits [B, out, H, W], as `layers.sam.prompted` says.

    Args:
        in_channels, out_channels: 1 (repeated) or 3; classes including background, which change no weight.
        spatial_shape: largest input, each side raised to a multiple of 16.
        size: vit_b, vit_l, vit_h, or the fields of a `SamSize`.
        fusion: what is made of the encoder's layers and added to the embedding: none, add or feb.
        trained: what has gradients: the mask decoder (and the fusion), all but the prompt encoder, or all.
        mask_choice: single or best_of_three.
        statistics: apply SAM's pixel statistics; MoE-SAM's loader hands [0, 1] to every network as it is.
    """

    unused_parameters: tuple[str, ...] = ("mask_decoder.iou_prediction_head.*",)

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        size: str | Mapping[str, Any] = "vit_b",
        fusion: str = "none",
        trained: Trained = "decoder",
        mask_choice: MaskChoice = "single",
        statistics: bool = True,
    ) -> None:
        check_channels(in_channels)
        sizes = sam_size(size)
        super().__init__(
            sizes,
            spatial_shape,
            out_channels=out_channels,
            mask_choice=mask_choice,
            fusion=make_fusion(fusion, sizes),
            statistics=statistics,
        )
        if trained not in get_args(Trained):
            raise ValueError(f"trained is one of {', '.join(get_args(Trained))}, not {trained!r}")
        if trained != "all":
            freeze(self.prompt_encoder)
        else:
            self.unused_parameters += ("prompt_encoder.mask_downscaling.*", "prompt_encoder.point_embeddings.[23].*")
        if trained == "decoder":
            freeze(self.image_encoder)

    def adapt_released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A file of SAM with its positions resized to this grid."""
        return fit_released(state, self.image_encoder)
