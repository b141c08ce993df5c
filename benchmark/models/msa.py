"""MSA, Medical SAM Adapter: SAM with bottleneck adapters in its encoder and a changed decoder.

Paper: Wu et al., "Medical SAM Adapter" (2023); a row of MoE-SAM Table 1. Released: SuperMedIntel/Medical-SAM-Adapter at
0add836, GPL-3.0: written from a description of its behaviour and from its outputs, without its code; state-dict keys
are its own. Against SAM, windows are cut before the norm, both self-attentions of the decoder are residual and add
the position code differently, and positions stay those of a 64 x 64 grid and are resized in every pass.
Released weights: SAM's. The relative tables and the decoder's perceptrons have other names there, so that they are not
loaded: the tables stay zero, since they are frozen. The prompt encoder runs without gradients.
`Depth_Adapter` belongs to the mode for volumes (`volumes`), which no row uses: slices of a volume stand one after the
other in the batch, and each block also attends from slice to slice. That mode follows the description alone: there is
no output of the release to compare it with. In blocks with several windows a chunk mixes windows and slices, as in the
release.
Deviations: rectangles are accepted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.errors import InputError
from benchmark.models.layers.sam.adapters import AdapterBlock, Bottleneck
from benchmark.models.layers.sam.image_encoder import ImageEncoder, RelativeAttention
from benchmark.models.layers.sam.mask_decoder import MaskDecoder, TwoWayBlock
from benchmark.models.layers.sam.network import built_for, check_channels, freeze
from benchmark.models.layers.sam.prompt_encoder import Prompts
from benchmark.models.layers.sam.prompted import PromptedSam
from benchmark.models.layers.sam.released import fit_released, resize_table
from benchmark.models.layers.sam.sizes import DEMO_SIZE, SamSize, sam_size
from benchmark.models.registry import register

POSITIONS = (64, 64)


class RenamedAttention(RelativeAttention):
    """Attention whose tables are resized, linearly, where the grid at hand has other sides."""

    tables = ("rel_h", "rel_w")

    def table(self, name: str, side: int) -> Tensor:
        table = super().table(name, side)
        return table if len(table) == 2 * side - 1 else resize_table(table, 2 * side - 1)


class ThreeAdapterBlock(AdapterBlock):
    """An `AdapterBlock` with an adapter of volumes.

    Args:
        volumes: attend along the batch axis too, and add the result behind `Depth_Adapter`.
        chunk: neighbours there that see each other; None: all.
    """

    attention = RenamedAttention

    def __init__(
        self,
        width: int,
        heads: int,
        grid: Sequence[int],
        window: int | None,
        volumes: bool = False,
        chunk: int | None = None,
    ) -> None:
        super().__init__(width, heads, grid, window)
        self.volumes, self.chunk = volumes, chunk
        self.Depth_Adapter = Bottleneck(width)

    def adapted(self, window: Tensor) -> Tensor:
        result = super().adapted(window)
        return result + self.along_depth(window) if self.volumes else result

    def along_depth(self, tokens: Tensor) -> Tensor:
        """[windows, rows, columns, width], same shape: what each place sees of the others of its chunk, whose sequence
        the attention of the block takes as a grid.

        Raises:
            InputError: chunks do not divide the first axis, or are of one.
        """
        chunk = len(tokens) if self.chunk is None else self.chunk
        if chunk < 2 or len(tokens) % chunk:
            raise InputError(
                "slices of a volume do not make whole chunks",
                expected=f"a multiple of {max(chunk, 2)} slices times windows in each pass",
                found=len(tokens),
                remedy="change the number of slices in a pass, or the network's option chunk",
            )
        chunks = tokens.unflatten(0, (-1, chunk)).permute(0, 2, 3, 1, 4)  # [chunks, rows, columns, chunk, width]
        sequences = self.norm1(chunks.flatten(0, 2)).unflatten(1, folded(chunk))
        seen = self.Depth_Adapter(self.attn(sequences)).flatten(1, 2)
        return seen.view(chunks.shape).permute(0, 3, 1, 2, 4).flatten(0, 1)


def folded(length: int) -> tuple[int, int]:
    """Sides of the grid that a sequence of 2 or more becomes, by the release's search, which never finds a square: 4 is
    1 x 4, 6 is 2 x 3, 16 is 2 x 8."""
    rows = math.isqrt(length)
    columns = rows + 1
    while rows * columns != length:
        if rows * columns < length:
            columns += 1
        else:
            rows -= 1
    return rows, columns


class MSAEncoder(ImageEncoder):
    """An image encoder whose positions are resized from 64 x 64 to the grid, bicubically."""

    def __init__(self, size: SamSize, grid: Sequence[int], *, volumes: bool, chunk: int | None) -> None:
        super().__init__(size, grid, partial(ThreeAdapterBlock, volumes=volumes, chunk=chunk), POSITIONS)

    def embed(self, images: Tensor) -> Tensor:
        tokens = self.patch_embed(images)
        positions = functional.interpolate(self.pos_embed.permute(0, 3, 1, 2), tokens.shape[2:], mode="bicubic")
        return (tokens + positions).permute(0, 2, 3, 1)


class RenamedPerceptron(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Sequential(nn.Linear(width, hidden), nn.ReLU()))
        self.fc = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.layers(tokens))


class ResidualTwoWayBlock(TwoWayBlock):
    """A block whose self-attention is residual, and whose tokens keep the position code that the second one adds."""

    def __init__(self, channels: int, hidden: int, first: bool) -> None:
        super().__init__(channels, hidden, first)
        self.mlp = RenamedPerceptron(channels, hidden)

    def among_tokens(self, tokens: Tensor, code: Tensor) -> Tensor:
        tokens = tokens if self.first else tokens + code
        return self.norm1(tokens + self.self_attn(tokens, tokens, tokens))


@register("msa", demo={"size": DEMO_SIZE}, spatial_dims=(2,), decoder="image_encoder.neck", prompted=True)
class MSA(PromptedSam):
    """`forward`: [B, in, H, W] in 0 … 1 -> class logits [B, out, H, W], as `layers.sam.prompted` says.

    Args:
        in_channels, out_channels: 1 (repeated) or 3; classes including background.
        spatial_shape: largest input; each side is raised to a multiple of 16.
        size: vit_b, vit_l, vit_h, or the fields of a `SamSize`.
        mask_choice: single, a binary mask per query; or all, a query for all K classes and max(4, K) mask tokens.
        statistics: apply SAM's pixel statistics.
        volumes: the images of a pass are the slices of volumes, in their order.
        chunk: slices (times windows, in blocks with several) that see each other; None: all of a pass.
    """

    unused_parameters: tuple[str, ...] = ("mask_decoder.iou_prediction_head.*", "prompt_encoder.*")

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        size: str | Mapping[str, Any] = "vit_b",
        mask_choice: Literal["single", "all"] = "single",
        statistics: bool = True,
        volumes: bool = False,
        chunk: int | None = None,
    ) -> None:
        check_channels(in_channels)
        sizes, (_, grid) = sam_size(size), built_for(spatial_shape)
        tokens = max(4, out_channels - 1) if mask_choice == "all" else 4
        super().__init__(
            sizes,
            spatial_shape,
            out_channels=out_channels,
            mask_choice=mask_choice,
            image_encoder=MSAEncoder(sizes, grid, volumes=volumes, chunk=chunk),
            mask_decoder=MaskDecoder(sizes, tokens, ResidualTwoWayBlock),
            statistics=statistics,
        )
        freeze(self.image_encoder, but="Adapter")
        if not volumes:
            self.unused_parameters += ("image_encoder.blocks.*.Depth_Adapter.*",)

    def encode_prompts(self, *prompts: Tensor | None) -> Prompts:
        with torch.no_grad():
            return super().encode_prompts(*prompts)

    def adapt_released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A file of MSA or of SAM, refused if it is of another width or depth."""
        return fit_released(state, self.image_encoder)
