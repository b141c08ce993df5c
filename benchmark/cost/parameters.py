"""Exact counts of what a network stores."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch

from torch import nn


@dataclass(frozen=True)
class ParameterCount:
    """How many numbers a network stores.

    Attributes:
        parameters: all parameters, tensors shared by several modules once.
        trainable: those with `requires_grad`.
        buffers: persistent or not (batch statistics, position indices), shared ones once.
        by_module: parameters of each top-level submodule; a shared tensor belongs to the first that has it, and what
            the network holds itself is under "".
    """

    parameters: int
    trainable: int
    buffers: int
    by_module: dict[str, int]


def count_parameters(network: nn.Module) -> ParameterCount:
    """Count a network's parameters and buffers; works on any device, meta included.

    What a network names in `uncounted` (patterns of names) is another network that it only keeps for the prediction,
    such as the first of two stages: it has a size of its own.
    """

    def counted(name: str) -> bool:
        return not any(fnmatch(name, pattern) for pattern in getattr(network, "uncounted", ()))

    parameters = {name: one for name, one in network.named_parameters() if counted(name)}  # a shared tensor once
    by_module: dict[str, int] = {}
    for name, parameter in parameters.items():
        top = name.partition(".")[0] if "." in name else ""
        by_module[top] = by_module.get(top, 0) + parameter.numel()
    return ParameterCount(
        parameters=sum(by_module.values()),
        trainable=sum(parameter.numel() for parameter in parameters.values() if parameter.requires_grad),
        buffers=sum(buffer.numel() for name, buffer in network.named_buffers() if counted(name)),
        by_module=by_module,
    )
