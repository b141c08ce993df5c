"""SAM's prompt encoder: points, boxes and masks become tokens and a map for the decoder.

Released: facebookresearch/segment-anything at dca509f (Apache-2.0); state-dict keys are its own. Positions are coded by
sines and cosines of random frequencies (Tancik et al. 2020), which are stored and never trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmark.models.layers.channel_norm import ChannelNorm

MASK_HIDDEN = 16  # channels before the last convolution of a mask prompt


class Prompts(NamedTuple):
    """Encoded prompts of N queries.

    Attributes:
        sparse: [N, tokens, channels], perhaps no token; N is 1 where nothing is asked for.
        dense: [N, channels, rows, columns], added to the image embedding.
    """

    sparse: Tensor
    dense: Tensor


class FourierPositions(nn.Module):
    """Places (x, y) in 0 … 1 -> [..., channels], all sines before all cosines; computed in 32 bits at least."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, channels // 2))

    def forward(self, places: Tensor) -> Tensor:
        matrix = self.positional_encoding_gaussian_matrix
        precise = torch.promote_types(matrix.dtype, torch.float32)
        x, y = (2 * places.to(precise) - 1)[..., None].unbind(-2)
        across, down = matrix.to(precise)
        angles = 2 * math.pi * (x * across + y * down)  # no matrix product, which autocast would round to 16 bits
        return torch.cat([angles.sin(), angles.cos()], dim=-1).to(matrix.dtype)


class PromptEncoder(nn.Module):
    """Points, boxes and masks of N queries -> `Prompts`.

    Args:
        channels: of the decoder.
        grid: rows and columns of the image embedding.
        pixels: rows and columns of the network's input, in which points and boxes are given.
        kinds: learned vectors of points: one per label from 0 up, and two for the corners of a box.
    """

    def __init__(self, channels: int, grid: Sequence[int], pixels: Sequence[int], kinds: int = 4) -> None:
        super().__init__()
        self.grid, self.pixels = tuple(grid), tuple(pixels)
        self.pe_layer = FourierPositions(channels)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, channels) for _ in range(kinds))
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, MASK_HIDDEN // 4, 2, stride=2),
            ChannelNorm(MASK_HIDDEN // 4),
            nn.GELU(),
            nn.Conv2d(MASK_HIDDEN // 4, MASK_HIDDEN, 2, stride=2),
            ChannelNorm(MASK_HIDDEN),
            nn.GELU(),
            nn.Conv2d(MASK_HIDDEN, channels, 1),
        )
        self.no_mask_embed = nn.Embedding(1, channels)

    def grid_code(self) -> Tensor:
        """[1, channels, rows, columns]: the code of each cell's centre."""
        rows, columns = (
            (torch.arange(side, device=self.no_mask_embed.weight.device) + 0.5) / side for side in self.grid
        )
        places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
        return self.pe_layer(places).permute(2, 0, 1)[None]

    def forward(
        self,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> Prompts:
        """Each prompt may be absent; points and labels come together.

        Args:
            points: [N, P, 2], pixels (x, y); without boxes a point of label -1 is appended.
            labels: [N, P] with the points: 1 foreground, 0 background, -1 no point.
            boxes: [N, 4] or [N, 1, 4], pixels (x, y) of two opposite corners.
            masks: [N, 1, 4 rows, 4 columns].
        """
        given = [prompt for prompt in (points, boxes, masks) if prompt is not None]
        count = given[0].shape[0] if given else 1
        tokens = [self.no_mask_embed.weight.new_empty(count, 0, self.no_mask_embed.embedding_dim)]
        if points is not None:
            if labels is None:
                raise ValueError("points come with their labels")
            tokens.append(self._points(points, labels, pad=boxes is None))
        if boxes is not None:
            corners = torch.cat(list(self.point_embeddings[-2:].parameters()))
            tokens.append(self._code(boxes.reshape(-1, 2, 2)) + corners)
        if masks is not None:
            dense = self.mask_downscaling(masks)
        else:
            dense = self.no_mask_embed.weight[..., None, None].expand(count, -1, *self.grid)
        return Prompts(torch.cat(tokens, dim=1), dense)

    def point_vectors(self) -> Tensor:
        """[1 + labels, channels]: what is added to a point, by label from -1 up."""
        return torch.cat([self.not_a_point_embed.weight, *self.point_embeddings[:-2].parameters()])

    def _points(self, points: Tensor, labels: Tensor, *, pad: bool) -> Tensor:
        code = self._code(points)
        if pad:
            code = torch.cat([code, code.new_zeros(len(code), 1, code.shape[2])], dim=1)
            labels = torch.cat([labels, labels.new_full((len(labels), 1), -1)], dim=1)
        labels = labels.long()
        return code * (labels >= 0)[..., None] + self.point_vectors()[labels + 1]

    def _code(self, pixels: Tensor) -> Tensor:
        height, width = self.pixels
        return self.pe_layer((pixels.float() + 0.5) / torch.tensor([width, height], device=pixels.device))
