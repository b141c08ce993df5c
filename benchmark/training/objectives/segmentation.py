"""Segmentation losses that one Dice plus cross-entropy over a batch does not cover."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmark.errors import InputError
from benchmark.settings import Loss
from benchmark.training.objectives.dice_cross_entropy import dice_cross_entropy


def own_classes(logits: Tensor, targets: Tensor, classes: Sequence[int], loss: Loss) -> Tensor:
    """Mean over samples of Dice plus cross-entropy on each sample's own classes (M4oE: a head per data set).

    Args:
        logits: [B, K, *spatial]; sample b uses its first `classes[b]` channels, the others are padding.
        targets: [B, *spatial], class numbers of each sample's own data set, or `loss.ignore`.
        classes: per sample, background included.
        loss: as of `dice_cross_entropy`; Dice per sample.

    Raises:
        InputError: Dice over the batch is asked for, or a sample has more classes than there are channels.
    """
    if loss.batch_dice:
        raise InputError("samples with classes of their own have no common Dice", remedy="set loss.batch_dice: false")
    if len(classes) != len(logits) or max(classes) > logits.shape[1]:
        raise InputError(
            "classes and logits do not fit together",
            expected=f"{len(logits)} numbers of classes, up to {logits.shape[1]}",
            found=list(classes),
        )
    terms = [
        dice_cross_entropy(logits[sample : sample + 1, :count], targets[sample : sample + 1], loss)
        for sample, count in enumerate(classes)
    ]
    return torch.stack(terms).mean()
