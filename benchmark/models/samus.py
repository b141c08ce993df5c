"""SAMUS: SAM on overlapping patches of small images, beside a convolutional branch that its global blocks read.

Paper: Lin et al., "SAMUS: Adapting Segment Anything Model for Clinically-Friendly and Generalizable Ultrasound Image
Segmentation" (2023), a row of MoE-SAM Table 1 ("1 pt"). Released: xianlin7/SAMUS @030ed07 (MIT); keys are its own.
Trained are the branch, the unit that halves the positions, all adapters, and the relative tables of the global blocks.
MoE-SAM's repository carries a copy with 16 x 16 tokens and without the overlap; this is the network of its authors.
Deviations: any input is padded to a square whose side is a power of two times 32, as the branch needs. The release says
which relative tables train by digits in their names, which for ViT-L and ViT-H takes in others by accident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from benchmark.models.layers.sam.image_encoder import RelativeAttention
from benchmark.models.layers.sam.network import check_channels, freeze
from benchmark.models.layers.sam.prompt_encoder import PromptEncoder
from benchmark.models.layers.sam.prompted import PromptedSam
from benchmark.models.layers.sam.released import fit_released
from benchmark.models.layers.sam.side_branch import GRID, BranchedEncoder
from benchmark.models.layers.sam.sizes import DEMO_SIZE, sam_size
from benchmark.models.registry import register

TRAINED = ("cnn_embed.", "post_pos_embed.", "Adapter.")  # parts of names in the image encoder


# Its global blocks and its branch's see 32 x 32 tokens however small the image is: one head, or they take all the time.
DEMO = {"size": {**DEMO_SIZE, "depth": 2, "heads": 1, "global_blocks": (1,), "channels": 64}, "train_decoder": True}


@register("samus", demo=DEMO, spatial_dims=(2,), decoder="image_encoder.neck", prompted=True)
class SAMUS(PromptedSam):
    """`forward`: [B, in, H, W] in 0 … 1 -> class logits [B, out, H, W], as `layers.sam.prompted` says.

    Logits at low resolution are half as large as the square: 128 x 128 at 256.

    Args:
        in_channels, out_channels: 1 (repeated) or 3; classes including background, which change no weight.
        spatial_shape: largest input, for which the square is built; 256 x 256 in the release.
        size: vit_b (the release), vit_l, vit_h, or the fields of a `SamSize`.
        train_decoder: train the mask decoder too. The release does not: it begins from SAM's, where a decoder at random
            would have to be trained.
        statistics: apply SAM's pixel statistics; the release does not.
    """

    unused_parameters: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        size: str | Mapping[str, Any] = "vit_b",
        train_decoder: bool = False,
        statistics: bool = False,
    ) -> None:
        check_channels(in_channels)
        sizes, side = sam_size(size), square_side(spatial_shape)
        super().__init__(
            sizes,
            (side, side),
            out_channels=out_channels,
            image_encoder=BranchedEncoder(sizes, side),
            prompt_encoder=PromptEncoder(sizes.channels, (GRID, GRID), (side, side)),
            statistics=statistics,
        )
        self.grid = (GRID, GRID)
        freeze(self)
        for name, parameter in self.image_encoder.named_parameters():
            parameter.requires_grad_(any(part in name for part in TRAINED))
        for number in sizes.global_blocks:
            for table in RelativeAttention.tables:
                self.image_encoder.get_parameter(f"blocks.{number}.attn.{table}").requires_grad_()
        if train_decoder:
            self.mask_decoder.requires_grad_()
            self.unused_parameters = ("mask_decoder.iou_prediction_head.*",)

    def adapt_released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A file of SAM with the relative tables of its global blocks resized; one of SAMUS as it is."""
        return fit_released(state, self.image_encoder)


def square_side(spatial_shape: Sequence[int]) -> int:
    """The smallest power of two times 32 that no side exceeds."""
    side = GRID
    while side < max(spatial_shape):
        side *= 2
    return side
