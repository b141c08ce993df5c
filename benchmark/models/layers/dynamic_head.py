"""Heads whose weights the network predicts (DoDNet, Zhang et al. 2021; Universal Model, Liu et al. 2023).

Three 1x1x1 convolutions with ReLU between, a set of weights for each sample and group (class or task).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.models.layers.checkpointing import maybe_checkpoint


def parameter_count(widths: Sequence[int]) -> int:
    """Weights and biases of a head, `widths` from its input to its output."""
    return sum(after * before + after for before, after in pairwise(widths))


def _split(parameters: Tensor, widths: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
    """[N, count] -> weights [N, out, in] and biases [N, out, 1]; all weights come first, then all biases."""
    shapes = [(after, before) for before, after in pairwise(widths)]
    sizes = [prod(shape) for shape in shapes] + list(widths[1:])
    parts = parameters.split(sizes, dim=1)
    weights = [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=False)]
    return weights, [part.unsqueeze(-1) for part in parts[len(shapes) :]]


def _apply(features: Tensor, parameters: Tensor, widths: Sequence[int]) -> Tensor:
    """[B, in, V] with [B, G, count] -> [B, G * out, V]."""
    batch, groups, _ = parameters.shape
    weights, biases = _split(parameters.flatten(0, 1), widths)
    # The first layer sees the same features in every group: one product instead of copies.
    hidden = weights[0].reshape(batch, groups * widths[1], widths[0]) @ features
    hidden = hidden.unflatten(1, (groups, widths[1])).flatten(0, 1) + biases[0]
    for weight, bias in zip(weights[1:], biases[1:], strict=True):
        hidden = torch.baddbmm(bias.to(hidden.dtype), weight.to(hidden.dtype), functional.relu(hidden))
    return hidden.unflatten(0, (batch, groups)).flatten(1, 2)


def dynamic_head(
    features: Tensor, parameters: Tensor, widths: Sequence[int], *, chunk: int, checkpointing: bool = False
) -> Tensor:
    """Run every group's head over the features.

    Args:
        features: [B, widths[0], *S].
        parameters: [B, groups, `parameter_count(widths)`].
        widths: channels from input to output.
        chunk: groups computed at a time; bounds the memory of the hidden layers, not the result.
        checkpointing: recompute each chunk's hidden layers in the backward pass.

    Returns:
        [B, groups * widths[-1], *S].
    """
    flat = features.flatten(2)
    chunks = [
        maybe_checkpoint(checkpointing, lambda part: _apply(flat, part, widths), part)
        for part in parameters.split(chunk, dim=1)
    ]
    return torch.cat(chunks, dim=1).unflatten(2, features.shape[2:])
