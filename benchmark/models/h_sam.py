"""H-SAM: SAM with low-rank updates and two decoders, of which the first one guides the second one.

Paper: Cheng et al., "Unleashing the Potential of SAM for Medical Adaptation via Hierarchical Decoding" (CVPR 2024), a
row of MoE-SAM Table 1. Released: Cccccczh404/H-SAM @5bdf491 (MIT); keys are its own, the prompt encoder's twice.
Trained are the low-rank updates, the prompt encoder and both decoders.

Deviations: the release knows inputs of 224 and 512 pixels only; here the places of the embedding give the width of the
inert attention, and the gate acts at every size. Its noise on the inert branch, which needs nine classes, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from benchmark.models.layers.fit import crop_to_shape
from benchmark.models.layers.sam.hierarchical import CrossFirstBlock, SecondDecoder, class_gate, with_noise
from benchmark.models.layers.sam.image_encoder import ImageEncoder
from benchmark.models.layers.sam.lora import add_lora
from benchmark.models.layers.sam.mask_decoder import MaskDecoder, weigh
from benchmark.models.layers.sam.network import SegmentAnything, built_for, check_channels, freeze
from benchmark.models.layers.sam.prompt_encoder import PromptEncoder
from benchmark.models.layers.sam.released import fit_lora
from benchmark.models.layers.sam.sizes import DEMO_SIZE, sam_size
from benchmark.models.registry import register

KINDS = 11  # learned vectors of points, for nine classes and two corners of a box; none is ever used
INERT_HIDDEN = 2048
DEMO = {"size": {**DEMO_SIZE, "channels": 64}, "inert_hidden": 32, "rank": 2}


class TwoDecoders(SegmentAnything):
    """SAM's parts with a second decoder, and with another name of the prompt encoder, as released."""

    mask_decoder2: SecondDecoder
    prompt_encoder2: PromptEncoder


@register("h_sam", demo=DEMO, spatial_dims=(2,), decoder="sam.image_encoder.neck")
class HSam(nn.Module):
    """[B, in, H, W] in 0 … 1 -> logits [B, out, H, W], H and W no larger than the built shape.

    In evaluation the output is the mean of both decoders' logits ("stage 3", the default of the released test). With
    `deep_supervision` it is a list: in training the second decoder's logits at full resolution and the first one's at a
    quarter of it, which the release weights by w and 1 - w, w = 0.6 ** (0.99 ** epoch); in evaluation the mean and the
    latter.

    Args:
        in_channels, out_channels: 1 (repeated) or 3; classes including background.
        spatial_shape: input size, each side raised to a multiple of 16.
        size: vit_b (the released weights), vit_l (the README's command at 224), vit_h, or the fields of a `SamSize`.
        rank: of the updates of queries and values.
        inert_hidden: of the perceptron in the branch that changes nothing.
        noise: add noise to what the second decoder sees, in training, as the release does.
        deep_supervision: return both decoders' logits.
    """

    unused_parameters = (
        "sam.prompt_encoder.mask_downscaling.*",
        "sam.prompt_encoder.point_embeddings.*",
        "sam.prompt_encoder.not_a_point_embed.*",
        "sam.mask_decoder*.iou_prediction_head.*",
        *(f"sam.mask_decoder2.{name}.*" for name in ("self_attn", "self_attn2", "norm1", "norm2", "mlp", "med_sel")),
        "sam.mask_decoder2.transformer2.layers.?.cross_attn_*.norm?.*",
    )

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        size: str | Mapping[str, Any] = "vit_b",
        rank: int = 5,
        inert_hidden: int = INERT_HIDDEN,
        noise: bool = True,
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
        check_channels(in_channels)
        sizes, (shape, grid) = sam_size(size), built_for(spatial_shape)
        encoder = ImageEncoder(sizes, grid)
        freeze(encoder)
        add_lora(encoder, rank)
        self.rank, self.noise, self.deep_supervision = rank, noise, deep_supervision
        self.sam = TwoDecoders(
            sizes,
            spatial_shape,
            image_encoder=encoder,
            prompt_encoder=PromptEncoder(sizes.channels, grid, shape, kinds=KINDS),
            mask_decoder=MaskDecoder(sizes, out_channels, CrossFirstBlock),
        )
        self.sam.mask_decoder2 = SecondDecoder(sizes, out_channels, grid, inert_hidden)
        self.sam.prompt_encoder2 = self.sam.prompt_encoder

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        shape, built = images.shape[2:], self.sam.built_shape
        first, second, _, _ = self.stages(images)
        full = crop_to_shape(second, built, shape)
        if not self.training:
            full = (full + self.sam.enlarge(first, shape)) / 2
        return [full, crop_to_shape(first, built, shape)] if self.deep_supervision else full

    def stages(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits of both decoders for the built shape, at a quarter of it and in full, and the qualities of both."""
        embedding, _ = self.sam.embed(self.sam.prepare(images))
        (sparse, dense), code = self.sam.prompt_encoder(), self.sam.prompt_encoder.grid_code()
        decoder = self.sam.mask_decoder
        attended = decoder.attend(embedding, code, sparse, dense)
        skip = decoder.output_upscaling(attended.image)
        first = weigh(decoder.output_hypernetworks_mlps, attended.masks, skip)
        if self.noise and self.training:
            embedding = with_noise(embedding)
        gate = class_gate(first, self.sam.grid)
        second, quality = self.sam.mask_decoder2(embedding + dense, code, gate, skip)
        return first, second, decoder.iou_prediction_head(attended.quality), quality

    def adapt_released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """SAM's file, the release's flat file of updates and decoders, or a whole network, in this network's keys.

        The prompt encoder's tensors are given under both of its names.
        """
        fitted = fit_lora(state, self.sam.image_encoder, self.sam.mask_decoder, self.rank)
        twice = {key.replace("prompt_encoder.", "prompt_encoder2.", 1): value for key, value in fitted.items()}
        return {f"sam.{key}": value for key, value in (fitted | twice).items()}
