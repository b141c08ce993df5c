"""Losses on what a masked image hides. After SimMIM and Swin-MAE."""

from __future__ import annotations

from torch import Tensor

from benchmark.errors import InputError
from benchmark.settings import MaskedImages

MASK_EPSILON, VARIANCE_EPSILON = 1e-5, 1e-6  # SimMIM's and Swin-MAE's


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
