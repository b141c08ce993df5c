"""What a prompted network is to the rest of the program: a slice is encoded once, for any number of points and classes.

    embedding = network.encode(images)
    masks = network.decode(embedding, points, labels, image_index).best()

Images are [B, 1 or 3, H, W] in 0 … 1, one grey channel being repeated; whether SAM's pixel statistics are applied is
the network's option `statistics`. A query is one or more points on one image and yields binary masks, whose logits are
positive inside. Which masks a network gives, and how one of them is chosen, is its attribute `mask_choice`:

    single          mask 0, which SAM trains for unambiguous prompts
    best_of_three   masks 1 to 3, of which `Masks.best` takes the one with the highest predicted IoU
    all             masks 0 to K - 1, one per class: a single query answers for all K classes

`forward` makes such a network one among the others, which give class logits [B, K + 1, H, W]: one positive point for
each of the K classes on the horizontal midline, class c at x = W c / (K + 1), or one point in the middle for `all`.
The background's logit is 0. So arg-max pastes the masks together as the prompted rows do, the highest logit winning
where masks overlap, and a softmax over it can be trained. It is for counting, comparing and testing; a real prediction
has real points.

`register(..., prompted=True)` says that a network has these methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from benchmark.models.layers.sam.network import SegmentAnything
from benchmark.models.layers.sam.prompt_encoder import Prompts
from benchmark.models.layers.sam.sizes import SamSize

MaskChoice = Literal["single", "best_of_three", "all"]


class Embedding(NamedTuple):
    """What `encode` makes of B images, and `decode` takes.

    Attributes:
        features: [B, channels, rows, columns].
        layers: what else of the encoder the decoder reads, [B, ...] each.
        shape: H and W of the images.
    """

    features: Tensor
    layers: list[Tensor]
    shape: tuple[int, int]


class Masks(NamedTuple):
    """The masks of N queries.

    Attributes:
        logits: [N, M, H, W], at the pixels of the images.
        predicted_iou: [N, M], as the network estimates it, not squashed to 0 … 1.
        low_resolution: [N, M, h, w], the logits as the decoder gives them, of the padded image.
    """

    logits: Tensor
    predicted_iou: Tensor
    low_resolution: Tensor

    def best(self) -> Masks:
        """M = 1: of each query the mask of the highest predicted IoU. Its choice has no gradient, its values do."""
        if self.predicted_iou.shape[1] == 1:
            return self
        queries = torch.arange(len(self.predicted_iou), device=self.predicted_iou.device)
        highest = self.predicted_iou.argmax(dim=1)
        return Masks(*(values[queries, highest][:, None] for values in self))


class PromptedSam(SegmentAnything):
    """SAM's parts with the methods of a prompted network.

    Args:
        size, spatial_shape, **parts: of `SegmentAnything`.
        out_channels: classes with the background, for `forward`.
        mask_choice: see above.

    Raises:
        ValueError: unknown choice, no class, or more classes than masks where a query answers for all.
    """

    def __init__(
        self,
        size: SamSize,
        spatial_shape: Sequence[int],
        *,
        out_channels: int,
        mask_choice: MaskChoice = "single",
        **parts: Any,
    ) -> None:
        super().__init__(size, spatial_shape, **parts)
        if mask_choice not in get_args(MaskChoice):
            raise ValueError(f"mask_choice is one of {', '.join(get_args(MaskChoice))}, not {mask_choice!r}")
        if out_channels < 2:
            raise ValueError(f"out_channels counts the background too and is 2 or more, not {out_channels}")
        self.classes, self.mask_choice = out_channels - 1, mask_choice
        masks = self.mask_decoder.mask_tokens.num_embeddings
        if mask_choice == "all" and self.classes > masks:
            raise ValueError(f"a query has {masks} masks, too few for {self.classes} classes; choose single")

    def encode(self, images: Tensor) -> Embedding:
        """[B, 1 or 3, H, W] in 0 … 1 -> what `decode` takes."""
        height, width = images.shape[2:]
        return Embedding(*self.embed(self.prepare(images)), shape=(height, width))

    def encode_prompts(
        self, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, masks: Tensor | None
    ) -> Prompts:
        """Where a network keeps gradients from the prompt encoder, it does so here."""
        return self.prompt_encoder(points, labels, boxes, masks)

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
        """The masks of N queries.

        Args:
            embedding: of `encode`.
            points: [N, P, 2], input pixels (x, y), the first pixel at 0; None with boxes or masks alone.
            labels: [N, P]: 1 foreground, 0 background, -1 not a point.
            image_index: [N], the image of each query, in 0 … B - 1.
            boxes: [N, 4], corners in input pixels (x0, y0, x1, y1).
            masks: [N, 1, h, w], an earlier answer at low resolution, in the form that the network was trained with.
        """
        return self._masks(embedding, self.encode_prompts(points, labels, boxes, masks), image_index)

    def _masks(self, embedding: Embedding, prompts: Prompts, image_index: Tensor) -> Masks:
        features = embedding.features[image_index]
        logits, quality = self.mask_decoder(features, self.prompt_encoder.grid_code(), *prompts)
        chosen = {"single": slice(0, 1), "best_of_three": slice(1, 4), "all": slice(0, self.classes)}[self.mask_choice]
        low_resolution = logits[:, chosen]
        return Masks(self.enlarge(low_resolution, embedding.shape), quality[:, chosen], low_resolution)

    def forward(
        self,
        images: Tensor | None,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        keep: bool = False,
        embedding: tuple[Tensor, list[Tensor], tuple[int, int]] | None = None,
        masks: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Class logits [B, K + 1, H, W] of one point per class, or of one for all; see the module's text.

        With `points` [B, P, 2] and their `labels` [B, P], one query per image: logits of its mask [B, 1, H, W] and the
        predicted IoU [B, 1]. Training goes through here, since a wrapped module has no other way in. With `keep`, the
        mask at low resolution [B, 1, h, w] follows, and the parts of the `Embedding` but for its shape.

        With an `embedding` in place of images, and `masks` [B, 1, h, w] as a prompt beside the points or alone: logits,
        predicted IoU and the mask at low resolution, without gradients through the prompts.

        Raises:
            ValueError: a query answers for all classes at once, so that it has no mask of its own; or there are neither
                images nor an embedding.
        """
        if embedding is not None:
            return self._answer_again(Embedding(*embedding), points, labels, masks)
        if images is not None and points is not None:
            return self._answer(images, points, labels, keep=keep)
        if images is None:
            raise ValueError("neither images nor an embedding of them")
        batch, _, height, width = images.shape
        queries = 1 if self.mask_choice == "all" else self.classes
        places = [[[width * number // (queries + 1), height // 2]] for number in range(1, queries + 1)]
        points = torch.tensor(places, device=images.device, dtype=torch.float32).repeat(batch, 1, 1)
        labels = torch.ones(points.shape[:2], device=images.device, dtype=torch.long)
        image_index = torch.arange(batch, device=images.device).repeat_interleave(queries)
        answer = self.decode(self.encode(images), points, labels, image_index)
        logits = (answer if self.mask_choice == "all" else answer.best()).logits
        logits = logits.reshape(batch, -1, height, width)
        return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)

    def _answer(self, images: Tensor, points: Tensor, labels: Tensor | None, *, keep: bool) -> tuple[Tensor, ...]:
        if self.mask_choice == "all":
            raise ValueError("with mask_choice all a point has no mask of its own; choose single")
        image_index = torch.arange(len(images), device=images.device)
        embedding = self.encode(images)
        masks = self.decode(embedding, points, labels, image_index).best()
        kept = (masks.low_resolution, embedding.features, *embedding.layers) if keep else ()
        return masks.logits, masks.predicted_iou, *kept

    def _answer_again(
        self, embedding: Embedding, points: Tensor | None, labels: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, ...]:
        with torch.no_grad():
            prompts = self.encode_prompts(points, labels, None, masks)
        image_index = torch.arange(len(embedding.features), device=embedding.features.device)
        best = self._masks(embedding, prompts, image_index).best()
        return best.logits, best.predicted_iou, best.low_resolution
