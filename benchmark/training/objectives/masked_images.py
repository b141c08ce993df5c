"""Masked-image modelling: random masks, and losses on what they hide. After SimMIM and Swin-MAE."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from benchmark.errors import InputError
from benchmark.settings import MaskedImages

MASK_EPSILON, VARIANCE_EPSILON = 1e-5, 1e-6  # SimMIM's and Swin-MAE's


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


def reconstruction_loss(images: Tensor, reconstruction: Tensor, mask: Tensor, settings: MaskedImages) -> Tensor:
    """Error of a reconstruction where the image was hidden.

    Args:
        images, reconstruction: [B, C, H, W].
        mask: [B, H / token, W / token], 1 = masked.
        settings: `l1` is SimMIM's, a mean over masked values; `mse` is Swin-MAE's, a mean over the values of each
            patch and then over the masked patches of the batch.

    Returns:
        Scalar; 0 where nothing is masked.

    Raises:
        InputError: the shapes do not fit together.
    """
    token = settings.token
    if images.shape != reconstruction.shape or mask.shape != _token_shape(images, token):
        raise InputError(
            "image, reconstruction and mask do not fit together",
            expected=f"equal images, and a mask of {list(_token_shape(images, token))}",
            found=f"{list(images.shape)}, {list(reconstruction.shape)}, {list(mask.shape)}",
        )
    mask = mask.to(images.dtype)
    if settings.error == "l1":
        pixels = mask.repeat_interleave(token, dim=1).repeat_interleave(token, dim=2)[:, None]
        return ((images - reconstruction).abs() * pixels).sum() / (pixels.sum() + MASK_EPSILON) / images.shape[1]
    target = patches(images, token)
    if settings.normalise_patches:
        deviation = (target.var(dim=-1, keepdim=True) + VARIANCE_EPSILON).sqrt()
        target = (target - target.mean(dim=-1, keepdim=True)) / deviation
    error = (patches(reconstruction, token) - target).square().mean(dim=-1)
    mask = mask.flatten(start_dim=1)
    return (error * mask).sum() / mask.sum().clamp(min=1)


def patches(images: Tensor, token: int) -> Tensor:
    """[B, C, H, W] as [B, patches, token · token · C]: patches row by row, values by row, column, channel."""
    cut = images.unflatten(3, (-1, token)).unflatten(2, (-1, token))
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(start_dim=3).flatten(1, 2)


def _token_shape(images: Tensor, token: int) -> tuple[int, ...]:
    return images.shape[0], images.shape[2] // token, images.shape[3] // token
