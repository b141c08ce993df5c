"""Random masks over the tokens of square images. After SimMIM and Swin-MAE."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from benchmark.errors import InputError
from benchmark.settings import MaskedImages


def cell_mask(side: int, settings: MaskedImages, generator: np.random.Generator | np.random.RandomState) -> np.ndarray:
    """SimMIM's mask of a square image on the grid of tokens, uint8 [side / token] twice, 1 = masked.

    One permutation of the cells is drawn; its first ceil(ratio · cells) are masked.

    Raises:
        InputError: side, cell and token do not divide each other.
    """
    cells, tokens = _grid(side, settings)
    masked = np.zeros(cells**2, np.uint8)
    masked[generator.permutation(cells**2)[: math.ceil(cells**2 * settings.ratio)]] = 1
    return masked.reshape(cells, cells).repeat(tokens, axis=0).repeat(tokens, axis=1)


def block_mask(noise: Tensor, side: int, settings: MaskedImages) -> Tensor:
    """Swin-MAE's masks of square images on the grid of tokens, [B, side / token, side / token], 1 = masked.

    Args:
        noise: [B, blocks] in row-major order; the floor(blocks · (1 - ratio)) with the least stay visible.

    Raises:
        InputError: side, cell and token do not divide each other, or `noise` has another number of blocks.
    """
    blocks, tokens = _grid(side, settings)
    if noise.shape[1] != blocks**2:
        raise InputError("noise and blocks do not fit together", expected=blocks**2, found=noise.shape[1])
    visible = noise.argsort(dim=1)[:, : int(blocks**2 * (1 - settings.ratio))]
    masked = torch.ones_like(noise).scatter(1, visible, 0.0).view(-1, blocks, blocks)
    return masked.repeat_interleave(tokens, dim=1).repeat_interleave(tokens, dim=2)


def _grid(side: int, settings: MaskedImages) -> tuple[int, int]:
    """Cells per side of an image, tokens per side of a cell."""
    if side % settings.cell or settings.cell % settings.token:
        raise InputError(
            "image, mask and tokens do not divide each other",
            expected="side a multiple of cell, cell a multiple of token",
            found=f"side {side}, cell {settings.cell}, token {settings.token}",
        )
    return side // settings.cell, settings.cell // settings.token
