"""SAM-Med2D: SAM at 256 x 256 with a convolutional adapter in every block of its encoder.

Paper: Cheng et al., "SAM-Med2D" (2023); rows of MoE-SAM Tables 1 and 3 and of M4oE Tables 2 and 3. Released:
OpenGVLab/SAM-Med2D at bfd2b93 (Apache-2.0); state-dict keys are its own. Of the three masks of a query the one with the
highest predicted IoU is used, in training as well. It learns the adapters, the decoder and, of the prompt encoder, what
is added without a mask and to the corners of boxes: the release wraps the vectors of points anew in every call, so that
they never change. As a mask prompt it was trained with the sigmoid of earlier logits.
Released weights: `sam_med2d_b`; or SAM's, the adapters starting at random. `adapt_released` resizes positions for
other sizes, where the release fails.
Deviations: rectangles are accepted. An odd grid comes back longer from an adapter's convolutions and is cut. SAM's
statistics are applied here, not in the loader, whose channels are in the reverse order of the statistics (the same for
grey images).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from benchmark.models.layers.sam.adapters import ConvolutionAdapterBlock
from benchmark.models.layers.sam.fusion import make_fusion
from benchmark.models.layers.sam.image_encoder import ImageEncoder
from benchmark.models.layers.sam.network import built_for, check_channels, freeze
from benchmark.models.layers.sam.prompt_encoder import PromptEncoder
from benchmark.models.layers.sam.prompted import PromptedSam
from benchmark.models.layers.sam.released import fit_released
from benchmark.models.layers.sam.sizes import DEMO_SIZE, sam_size
from benchmark.models.registry import register


class FixedPointsEncoder(PromptEncoder):
    """A prompt encoder whose vectors of points never learn."""

    def point_vectors(self) -> Tensor:
        return super().point_vectors().detach()


@register("sam_med2d", demo={"size": DEMO_SIZE}, spatial_dims=(2,), decoder="image_encoder.neck", prompted=True)
class SAMMed2D(PromptedSam):
    """`forward`: [B, in, H, W] in 0 … 1 -> class logits [B, out, H, W], as `layers.sam.prompted` says.

    Args:
        in_channels, out_channels: 1 (repeated) or 3; classes including background, which change no weight.
        spatial_shape: largest input, 256 x 256 in the release; each side raised to a multiple of 16.
        size: vit_b, vit_l, vit_h, or the fields of a `SamSize`.
        fusion: what is made of the encoder's layers and added to the embedding: none, add or feb.
        statistics: apply SAM's pixel statistics.
    """

    unused_parameters = (
        "mask_decoder.iou_prediction_head.*",
        "prompt_encoder.mask_downscaling.*",
        "prompt_encoder.point_embeddings.*",
        "prompt_encoder.not_a_point_embed.*",
    )

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        size: str | Mapping[str, Any] = "vit_b",
        fusion: str = "none",
        statistics: bool = True,
    ) -> None:
        check_channels(in_channels)
        sizes, (shape, grid) = sam_size(size), built_for(spatial_shape)
        super().__init__(
            sizes,
            spatial_shape,
            out_channels=out_channels,
            mask_choice="best_of_three",
            image_encoder=ImageEncoder(sizes, grid, ConvolutionAdapterBlock),
            prompt_encoder=FixedPointsEncoder(sizes.channels, grid, shape),
            fusion=make_fusion(fusion, sizes),
            statistics=statistics,
        )
        freeze(self.image_encoder, but="Adapter")

    def adapt_released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A file of SAM-Med2D or of SAM with its positions resized to this grid."""
        return fit_released(state, self.image_encoder)
