"""DeSAM: SAM whose mask is drawn by a small U-Net, so that a poor prompt spoils the predicted IoU and not the mask.

Paper: Gao et al., "DeSAM: Decoupled Segment Anything Model" (MICCAI 2024), a row of MoE-SAM Table 1 ("1 pt"). Released:
yifangao112/DeSAM @f377da2 (MIT); state-dict keys are its own. It has no weights of its own; SAM's fit by name.
Trained is the decoder with its U-Net. The release trains on points of which half lie outside the structure: the mask is
the same, only the wanted IoU differs.
Deviations: the encoder's width is handed to the U-Net, where the release has that of ViT-H for all; inputs of any size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from benchmark.models.layers.fit import round_up
from benchmark.models.layers.sam.decoupled import MaskModule, ResidualExcitation
from benchmark.models.layers.sam.mask_decoder import MaskDecoder
from benchmark.models.layers.sam.network import check_channels, freeze
from benchmark.models.layers.sam.prompted import Embedding, Masks, PromptedSam
from benchmark.models.layers.sam.released import fit_released
from benchmark.models.layers.sam.sizes import DEMO_SIZE, PATCH, SamSize, sam_size
from benchmark.models.registry import register


class DecoupledDecoder(MaskDecoder):
    """SAM's decoder and the U-Net `pimm`, which reads the image as it leaves the transformer.

    The parts of SAM that made masks are held, so that its files load, and never used.
    """

    def __init__(self, size: SamSize) -> None:
        super().__init__(size)
        self.pimm = MaskModule(size.width, size.channels, len(size.global_blocks) - 1)


DEMO = {"size": {**DEMO_SIZE, "global_blocks": (0, 1, 2, 3), "channels": 64}}


@register("desam", demo=DEMO, spatial_dims=(2,), decoder="image_encoder.neck", prompted=True)
class DeSAM(PromptedSam):
    """`forward`: [B, in, H, W] in 0 … 1 -> class logits [B, out, H, W], as `layers.sam.prompted` says.

    Args:
        in_channels, out_channels: 1 (repeated) or 3; classes including background, which change no weight.
        spatial_shape: largest input, each side raised to a multiple of 16; 1024 x 1024 in the release.
        size: vit_h (the release), vit_b, vit_l, or the fields of a `SamSize`. All global blocks but the last one have a
            branch in the U-Net; of four, the finest has a quarter of `channels`, which may not be below 16.
        statistics: apply SAM's pixel statistics, as the release does.
    """

    mask_decoder: DecoupledDecoder
    unused_parameters: tuple[str, ...] = (
        "mask_decoder.output_upscaling.*",
        "mask_decoder.output_hypernetworks_mlps.*",
        "mask_decoder.iou_prediction_head.*",  # these three without a loss of the predicted IoU
        "mask_decoder.transformer.final_attn_token_to_image.*",
        "mask_decoder.transformer.norm_final_attn.*",
        "mask_decoder.pimm.*.se.fc.*",
        "mask_decoder.pimm.seg_outputs.0.weight",
    )

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        size: str | Mapping[str, Any] = "vit_h",
        statistics: bool = True,
    ) -> None:
        check_channels(in_channels)
        sizes = sam_size(size)
        super().__init__(
            sizes,
            round_up(spatial_shape, (PATCH, PATCH), several=True),  # its U-Net normalises over the tokens
            out_channels=out_channels,
            mask_decoder=DecoupledDecoder(sizes),
            statistics=statistics,
        )
        self.kept = sizes.global_blocks[:-1]
        freeze(self.image_encoder)
        freeze(self.prompt_encoder)
        blocks = ((name, part) for name, part in self.named_modules() if isinstance(part, ResidualExcitation))
        self.unused_parameters += tuple(f"{name}.conv3.*" for name, part in blocks if not part.widens)

    def encode(self, images: Tensor) -> Embedding:
        height, width = images.shape[2:]
        features, layers = self.embed(self.prepare(images), self.kept)
        return Embedding(features, [layer.permute(0, 3, 1, 2) for layer in layers], (height, width))

    def decode(
        self,
        embedding: Embedding,
        points: Tensor | None,
        labels: Tensor | None,
        image_index: Tensor,
        *,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> Masks:
        """As `PromptedSam.decode`, one mask per query."""
        prompts = self.encode_prompts(points, labels, boxes, masks)
        decoder, code = self.mask_decoder, self.prompt_encoder.grid_code()
        quality, _, image = decoder.attend(embedding.features[image_index], code, *prompts)
        low_resolution = decoder.pimm([layer[image_index] for layer in embedding.layers], image)[0]
        iou = decoder.iou_prediction_head(quality)[:, :1]
        return Masks(self.enlarge(low_resolution, embedding.shape), iou, low_resolution)

    def adapt_released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A file of SAM with its positions resized to this grid."""
        return fit_released(state, self.image_encoder)
