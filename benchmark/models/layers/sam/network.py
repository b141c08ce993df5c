"""Image encoder, prompt encoder and mask decoder together."""

from __future__ import annotations

from collections.abc import Container, Sequence

from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.fit import crop_to_shape, pad_to_shape, round_up
from benchmark.models.layers.sam.image_encoder import Encoded, ImageEncoder
from benchmark.models.layers.sam.mask_decoder import MaskDecoder
from benchmark.models.layers.sam.prompt_encoder import PromptEncoder
from benchmark.models.layers.sam.sizes import PATCH, SamSize

PIXEL_MEAN = (123.675, 116.28, 103.53)  # of red, green and blue from 0 to 255
PIXEL_DEVIATION = (58.395, 57.12, 57.375)


class SegmentAnything(nn.Module):
    """The parts of SAM for one input size, smaller images being padded with zeros behind both axes.

    Args:
        size: of the network.
        spatial_shape: of the input; each side is raised to a multiple of 16.
        image_encoder, prompt_encoder, mask_decoder: SAM's own where None.
        fusion: makes a map of the layers that is added to the image embedding (`layers.sam.fusion`).
        statistics: images are in 0 … 1 and SAM's mean and deviation are applied; otherwise they are taken as they are.
    """

    def __init__(
        self,
        size: SamSize,
        spatial_shape: Sequence[int],
        *,
        image_encoder: ImageEncoder | None = None,
        prompt_encoder: PromptEncoder | None = None,
        mask_decoder: MaskDecoder | None = None,
        fusion: nn.Module | None = None,
        statistics: bool = False,
    ) -> None:
        super().__init__()
        self.built_shape, self.grid = built_for(spatial_shape)
        self.image_encoder = image_encoder or ImageEncoder(size, self.grid)
        self.prompt_encoder = prompt_encoder or PromptEncoder(size.channels, self.grid, self.built_shape)
        self.mask_decoder = mask_decoder or MaskDecoder(size)
        self.fusion = fusion
        self.statistics = statistics

    def prepare(self, images: Tensor) -> Tensor:
        """[B, 1 or 3, H, W] -> [B, 3, *built_shape]: grey repeated, normalised, and only then padded with zeros.

        Raises:
            ValueError: a side is larger than the built one.
        """
        images = images.expand(-1, 3, -1, -1)
        if self.statistics:
            images = standardise(255 * images)
        return pad_to_shape(images, self.built_shape)

    def embed(self, prepared: Tensor, keep: Container[int] = ()) -> Encoded:
        """The image embedding, what a fusion adds included, and the outputs of the blocks in `keep`."""
        if self.fusion is None:
            return self.image_encoder(prepared, keep)
        embedding, layers = self.image_encoder(prepared, range(len(self.image_encoder.blocks)))
        kept = [layer for number, layer in enumerate(layers) if number in keep]
        return Encoded(embedding + self.fusion(layers), kept)

    def unprompted(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits at low resolution and predicted IoU of all masks, without any prompt, for images [B, 1 or 3, H, W]."""
        embedding = self.embed(self.prepare(images)).embedding
        return self.mask_decoder(embedding, self.prompt_encoder.grid_code(), *self.prompt_encoder())

    def enlarge(self, logits: Tensor, shape: Sequence[int]) -> Tensor:
        """Logits [N, M, h, w] of the whole built shape, at the pixels of an image of `shape`, bilinearly."""
        enlarged = functional.interpolate(logits, self.built_shape, mode="bilinear", align_corners=False)
        return crop_to_shape(enlarged, self.built_shape, shape)


def standardise(images: Tensor) -> Tensor:
    """Pixels [B, 3, H, W] from 0 to 255, less SAM's mean and over its deviation."""
    mean, deviation = (images.new_tensor(row)[:, None, None] for row in (PIXEL_MEAN, PIXEL_DEVIATION))
    return (images - mean) / deviation


def built_for(spatial_shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Input sides raised to multiples of a patch, and rows and columns of tokens."""
    shape = round_up(spatial_shape, (PATCH, PATCH))
    return shape, tuple(side // PATCH for side in shape)


def check_channels(in_channels: int) -> None:
    """Raises ValueError unless images are grey or have three channels."""
    if in_channels not in (1, 3):
        raise ValueError(f"in_channels is 1 or 3, not {in_channels}")


def freeze(module: nn.Module, *, but: str | None = None) -> None:
    """Take all parameters from training, except those whose name contains `but`."""
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(but is not None and but in name)
