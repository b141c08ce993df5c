"""Optimisers by name, and the encoder that stays fixed at first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from benchmark import settings
from benchmark.errors import InputError


def make_optimiser(network: nn.Module, optimiser: settings.Optimiser, *, fused: bool | None = None) -> Optimizer:
    """Over all parameters, norms and biases too, unless the recipe parts them.

    Args:
        fused: torch's one kernel for a whole step. None: as torch chooses, on a CPU one operation after another (of a
            network with a thousand small tensors, a sixth of the time of a training step).

    Raises:
        InputError: the recipe has a rate for the head, and the network does not say what that is.
    """
    parameters = _groups(network, optimiser)
    rate, decay = optimiser.learning_rate, optimiser.weight_decay
    if optimiser.name == "sgd":
        momentum, nesterov = optimiser.momentum, optimiser.nesterov
        return SGD(parameters, lr=rate, weight_decay=decay, momentum=momentum, nesterov=nesterov, fused=fused)
    kind = AdamW if optimiser.name == "adamw" else Adam
    return kind(parameters, lr=rate, weight_decay=decay, betas=optimiser.betas, eps=optimiser.epsilon, fused=fused)


DECAYS: dict[str, Callable[[str, nn.Parameter], bool]] = {
    "all": lambda name, parameter: True,
    "matrices": lambda name, parameter: sum(side > 1 for side in parameter.shape) > 1,
    "no_vectors": lambda name, parameter: parameter.ndim > 1 and not name.endswith("relative_position_bias_table"),
}


def _groups(network: nn.Module, optimiser: settings.Optimiser) -> list[dict[str, Any]]:
    """Parameter groups, which have the factor of their rate as `rate_factor` (read by the loop)."""
    parts = () if optimiser.head_rate == 1 else _head(network, optimiser).parameters()
    head = {id(parameter) for parameter in parts}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        decays = DECAYS[optimiser.decay](name, parameter)
        factor = optimiser.head_rate if id(parameter) in head else 1.0
        groups.setdefault((factor, decays), []).append(parameter)
    return [
        {"params": parameters, "rate_factor": factor, **({} if decays else {"weight_decay": 0.0})}
        for (factor, decays), parameters in groups.items()
    ]


def _head(network: nn.Module, optimiser: settings.Optimiser) -> nn.Module:
    head: Callable[[], nn.Module] | None = getattr(network, "head", None)
    if head is None:
        raise InputError(
            f"{type(network).__name__} does not say what its head is",
            expected="a method head() of the network",
            found=f"training.optimiser.head_rate = {optimiser.head_rate}",
            remedy="set head_rate: 1, or add the method",
        )
    return head()


def frozen_parameters(network: nn.Module, *, freeze_epochs: int) -> list[nn.Parameter]:
    """Parameters that stay fixed for the first `freeze_epochs`: what `network.pretrained_parameters()` yields.

    The loop drops their gradients after the backward pass, so that they get neither update nor decay and do not count
    in the clipped norm, exactly as with requires_grad off; but DDP's bookkeeping need not change in mid-training.

    Raises:
        InputError: the network does not say which of its parameters are pre-trained.
    """
    if not freeze_epochs:
        return []
    pretrained: Callable[[], Iterable[nn.Parameter]] | None = getattr(network, "pretrained_parameters", None)
    if pretrained is None:
        raise InputError(
            f"{type(network).__name__} cannot be frozen",
            expected="a method pretrained_parameters() of the network",
            found=f"training.freeze_epochs = {freeze_epochs}",
            remedy="set freeze_epochs: 0, or add the method",
        )
    return list(pretrained())
