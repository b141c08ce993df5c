"""Losses of one mask per prompt: one function and settings for SAM-Med2D, SAMUS, MSA, MedSAM, DeSAM and AutoSAM."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.errors import InputError
from benchmark.settings import PromptedLoss

RANGE_EPSILON = 1e-6  # AutoSAM's, added to the range of an image's logits
LOG_EPSILON, IOU_EPSILON = 1e-12, 1e-7  # SAM-Med2D's


def prompted_loss(
    logits: Tensor,
    targets: Tensor,
    loss: PromptedLoss,
    *,
    quality: Tensor | None = None,
) -> Tensor:
    """Weighted sum of soft Dice, binary cross-entropy, focal loss and the error of the predicted quality.

    Args:
        logits: [B, C, *spatial], each channel a mask of its own.
        targets: the same shape, 0 and 1.
        loss: weights and conventions.
        quality: [B, C], the network's estimate of each mask's quality; needed unless `loss.quality` is none.

    Returns:
        Scalar, computed in float32.

    Raises:
        InputError: shapes differ, or a quality is missing.
    """
    if logits.shape != targets.shape:
        raise InputError("logits and masks differ in shape", expected=list(logits.shape), found=list(targets.shape))
    logits, targets = logits.float(), targets.float()
    probabilities = logits.sigmoid() if loss.probability == "sigmoid" else min_max(logits)
    total = logits.new_zeros(())
    if loss.dice:
        total = total + loss.dice * soft_dice_loss(probabilities, targets, loss)
    if loss.cross_entropy:
        total = total + loss.cross_entropy * _cross_entropy(logits, probabilities, targets, loss)
    if loss.focal:
        total = total + loss.focal * focal_loss(probabilities, targets, loss)
    if loss.quality != "none":
        total = total + _quality_error(probabilities, targets, loss, quality)
    return total


def min_max(logits: Tensor) -> Tensor:
    """Each image of [B, C, *spatial] mapped to [0, 1] by its own range over channels and voxels."""
    flat = logits.flatten(start_dim=1)
    shape = (-1, *[1] * (logits.dim() - 1))
    low, high = flat.amin(dim=1).view(shape), flat.amax(dim=1).view(shape)
    return (logits - low) / (high - low + RANGE_EPSILON)


def soft_dice_loss(probabilities: Tensor, targets: Tensor, loss: PromptedLoss) -> Tensor:
    """1 - Dice, a mean over masks or one Dice of all voxels of the batch."""
    start = 2 if loss.dice_over == "mask" else 0
    prediction, truth = probabilities.flatten(start), targets.flatten(start)
    mass = prediction.square() + truth.square() if loss.squared_denominator else prediction + truth
    intersection = (prediction * truth).sum(dim=-1)
    dice = (2 * intersection + loss.smooth_numerator) / (mass.sum(dim=-1) + loss.smooth_denominator)
    return (1 - dice).mean()


def focal_loss(probabilities: Tensor, targets: Tensor, loss: PromptedLoss) -> Tensor:
    """Mean over all voxels of the batch of the focal loss of Lin et al., as SAM-Med2D computes it."""
    positive = loss.focal_alpha * (1 - probabilities) ** loss.focal_gamma * torch.log(probabilities + LOG_EPSILON)
    negative = (1 - loss.focal_alpha) * probabilities**loss.focal_gamma * torch.log(1 - probabilities + LOG_EPSILON)
    return -(targets * positive + (1 - targets) * negative).sum() / (targets.numel() + LOG_EPSILON)


def _cross_entropy(logits: Tensor, probabilities: Tensor, targets: Tensor, loss: PromptedLoss) -> Tensor:
    if loss.probability == "min_max":
        return functional.binary_cross_entropy(probabilities, targets)
    weight = logits.new_tensor(loss.positive_weight)
    return functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight)


def _quality_error(probabilities: Tensor, targets: Tensor, loss: PromptedLoss, quality: Tensor | None) -> Tensor:
    if quality is None:
        raise InputError(
            "the loss needs the predicted quality of the masks",
            expected=f"quality for loss.quality {loss.quality}",
            remedy="use a network with a quality head, or set loss.quality: none",
        )
    intersection = (probabilities * targets).sum()
    union = probabilities.sum() + targets.sum() - intersection
    wanted = (intersection + IOU_EPSILON) / (union + IOU_EPSILON)
    error = functional.l1_loss if loss.quality_error == "l1" else functional.mse_loss
    return error(quality.float(), wanted.expand_as(quality))
