"""Optimisers by name, and the encoder that stays fixed at first."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from benchmark import settings
from benchmark.errors import InputError


def make_optimiser(network: nn.Module, optimiser: settings.Optimiser) -> Optimizer:
    """One parameter group over all parameters: the released trainers decay norms and biases too.

    With `decay: matrices` there are two, of which the second does not decay.
    """
    parameters = network.parameters() if optimiser.decay == "all" else _by_decay(network)
    rate, decay = optimiser.learning_rate, optimiser.weight_decay
    if optimiser.name == "sgd":
        return SGD(parameters, lr=rate, weight_decay=decay, momentum=optimiser.momentum, nesterov=optimiser.nesterov)
    kind = AdamW if optimiser.name == "adamw" else Adam
    return kind(parameters, lr=rate, weight_decay=decay, betas=optimiser.betas, eps=optimiser.epsilon)


def _by_decay(network: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups: matrices and kernels; then vectors, whatever number of sides of length 1 they have."""
    matrices, vectors = [], []
    for parameter in network.parameters():
        (matrices if sum(side > 1 for side in parameter.shape) > 1 else vectors).append(parameter)
    return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]


def frozen_parameters(network: nn.Module, *, freeze_epochs: int) -> list[nn.Parameter]:
    """Parameters that stay fixed for the first `freeze_epochs`: what `network.pretrained_parameters()` yields.

    The loop drops their gradients after the backward pass, so that they get neither update nor decay and do not count
    in the clipped norm, exactly as with requires_grad off; but DDP's bookkeeping need not change in mid-training.

    Raises:
        InputError: the network does not say which of its parameters are pre-trained.
    """
    if not freeze_epochs:
        return []
    if not hasattr(network, "pretrained_parameters"):
        raise InputError(
            f"{type(network).__name__} cannot be frozen",
            expected="a method pretrained_parameters() of the network",
            found=f"training.freeze_epochs = {freeze_epochs}",
            remedy="set freeze_epochs: 0, or add the method",
        )
    return list(network.pretrained_parameters())
