"""AutoSAM: a convolutional network that gives a frozen SAM its dense prompt.

Paper: Shaharabany et al., "AutoSAM: Adapting SAM to Medical Images by Overloading the Prompt Encoder" (2023), a row of
MoE-SAM Table 1. talshaharabany/AutoSAM @3959d72 has no licence: this is written from a description of what it computes,
with its keys (`model.*` the prompt network, `sam.*`). Trained is the prompt network. It has no weights of its own;
HarDNet-85's of ImageNet and SAM's fit (`adapt_released`).

One mask: the release has a single structure and says nothing of several. With K classes, the prompt network's last
convolution gives K dense prompts; SAM encodes the image once and decodes each of them; the highest logit wins, that of
the background being 0. With K = 1 this is the released network.
Min-max: the release has no sigmoid. It scales the logits of each image to 0 … 1, in the loss and at test, so that every
image has foreground. `min_max` does that; by default logits are as SAM gives them, which a softmax can be trained on.
Scaled twice: the release applies SAM's pixel statistics in its data set, and once more before the encoder, which leaves
that one an almost constant image. `statistics_twice` does that; by default they are applied once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.fit import crop_to_shape
from benchmark.models.layers.hardnet import BLOCKS_85, STEM_85, Block
from benchmark.models.layers.sam.mask_decoder import weigh
from benchmark.models.layers.sam.network import SegmentAnything, check_channels, freeze, standardise
from benchmark.models.layers.sam.prompt_network import PromptNetwork
from benchmark.models.layers.sam.released import fit_released
from benchmark.models.layers.sam.sizes import DEMO_SIZE, sam_size
from benchmark.models.registry import register

PROMPT_SIDE = 512  # pixels along the longer side of what the prompt network sees
EPS = 1e-6
CLASSIFIER = "base.19."  # of HarDNet, which nothing here has
DEMO = {
    "size": DEMO_SIZE,
    "stem": (8, 12),
    "blocks": ((6, 4, 16, True), (8, 8, 20, True), (10, 8, 24, True), (12, 4, 28, False)),
    "prompt_side": 128,
    "train_decoder": True,
}


@register("autosam", demo=DEMO, spatial_dims=(2,), decoder="model.decoder")
class AutoSAM(nn.Module):
    """[B, in, H, W] in 0 … 1 -> logits [B, out, H, W], H and W no larger than the built shape.

    Channel 0 is 0; each other one is a binary mask's logit, positive inside.

    Args:
        in_channels, out_channels: 1 (repeated) or 3; classes including background.
        spatial_shape: input size, each side raised to a multiple of 16; 1024 x 1024 in the release.
        size: vit_h (the release), vit_b, vit_l, or the fields of a `SamSize`.
        stem, blocks: of the prompt network's HarDNet.
        prompt_side: pixels along the longer side of the prompt network's image.
        min_max: give min-max scaled logits less one half, so that 0 is the release's threshold.
        statistics_twice: see above.
        train_decoder: train SAM's mask decoder too. The release does not: it begins from SAM's, where a decoder at
            random would have to be trained.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        size: str | Mapping[str, Any] = "vit_h",
        stem: Sequence[int] = STEM_85,
        blocks: Sequence[Block] = BLOCKS_85,
        prompt_side: int = PROMPT_SIDE,
        min_max: bool = False,
        statistics_twice: bool = False,
        train_decoder: bool = False,
    ) -> None:
        super().__init__()
        check_channels(in_channels)
        if out_channels < 2:
            raise ValueError("there is a background and one class at least")
        sizes = sam_size(size)
        self.prompt_side, self.min_max, self.statistics_twice = prompt_side, min_max, statistics_twice
        self.model = PromptNetwork(sizes.channels, out_channels - 1, stem=stem, blocks=blocks)
        self.sam = SegmentAnything(sizes, spatial_shape, statistics=True)
        freeze(self.sam)
        self.unused_parameters = self._unread()
        if train_decoder:
            self.sam.mask_decoder.requires_grad_()
            unasked = ("iou_prediction_head.*", "output_hypernetworks_mlps.[123].*")
            self.unused_parameters += tuple(f"sam.mask_decoder.{name}" for name in unasked)

    def _unread(self) -> tuple[str, ...]:
        """What lies behind the map at stride 16, which is the last that is read, and a norm that is never applied."""
        base = self.model.backbone.base
        last = max(place for place, part in enumerate(base) if isinstance(part, nn.MaxPool2d))
        behind = (place for place in range(last, len(base)) if [*base[place].parameters()])
        return (*(f"model.backbone.base.{place}.*" for place in behind), "model.decoder.final.BN2.*")

    def forward(self, images: Tensor) -> Tensor:
        prepared = self.sam.prepare(images)
        embedding = self.sam.embed(standardise(prepared) if self.statistics_twice else prepared).embedding
        masks = self.decode(embedding, self.dense_prompts(prepared))[0]
        if self.min_max:
            masks = min_max(masks) - 0.5
        logits = enlarge(masks, self.sam.built_shape, images.shape[2:])
        return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)

    def dense_prompts(self, prepared: Tensor) -> Tensor:
        """Images as SAM takes them -> [B, K, channels, rows, columns]."""
        longest = max(prepared.shape[2:])
        shape = [max(1, round(side * self.prompt_side / longest)) for side in prepared.shape[2:]]
        small = functional.interpolate(prepared, shape, mode="bilinear", align_corners=True)
        return self.model(small, self.sam.grid)

    def decode(self, embedding: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding and K dense prompts of each image -> logits [B, K, 4 rows, 4 columns] and predicted IoU [B, K]."""
        batch, classes = prompts.shape[:2]
        decoder, encoder = self.sam.mask_decoder, self.sam.prompt_encoder
        repeated = embedding.repeat_interleave(classes, dim=0)
        nothing = embedding.new_empty(1, 0, embedding.shape[1])
        attended = decoder.attend(repeated, encoder.grid_code(), nothing, prompts.flatten(0, 1))
        upscaled = decoder.output_upscaling(attended.image)
        masks = weigh(decoder.output_hypernetworks_mlps[:1], attended.masks[:, :1], upscaled)
        iou = decoder.iou_prediction_head(attended.quality)[:, 0]
        return masks.reshape(batch, classes, *masks.shape[2:]), iou.reshape(batch, classes)

    def adapt_released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A file of SAM, its positions resized, or of HarDNet-85, without its classifier; or one with these keys."""
        if any(key.startswith("base.") for key in state):
            return {f"model.backbone.{key}": value for key, value in state.items() if not key.startswith(CLASSIFIER)}
        if any(key.startswith("image_encoder.") for key in state):
            return {f"sam.{key}": value for key, value in fit_released(state, self.sam.image_encoder).items()}
        return state


def min_max(logits: Tensor) -> Tensor:
    """Each map of [B, K, H, W] scaled to 0 … 1 by its least and greatest value; gradients flow through both."""
    least, greatest = logits.amin(dim=(2, 3), keepdim=True), logits.amax(dim=(2, 3), keepdim=True)
    return (logits - least) / (greatest - least + EPS)


def enlarge(logits: Tensor, built_shape: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Maps [B, K, h, w] of the whole built shape at the pixels of an image of `shape`: bilinear, corners aligned."""
    enlarged = functional.interpolate(logits, tuple(built_shape), mode="bilinear", align_corners=True)
    return crop_to_shape(enlarged, built_shape, shape)
