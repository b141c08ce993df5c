"""Networks without memory: built so that every tensor is on the meta device (a shape and a type, no values)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmark.cost.function_mode import Function, FunctionMode

# What weights are allocated with. Tables (arange, linspace, tensor, zeros …) stay on the CPU while a network is built,
# because builders read values from them, e.g. `torch.linspace(0, rate, depth)` for stochastic depth.
_ALLOCATORS = {torch.empty, torch.rand, torch.randn}
# What gives weights their first values, beside torch.nn.init: nothing to do without values, and half of the time.
_FILLS = {
    getattr(torch.Tensor, f"{name}_") for name in ("normal", "uniform", "zero", "fill", "erfinv", "mul", "add", "clamp")
}


class _WeightsOnMeta(FunctionMode):
    def call(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if function in _ALLOCATORS:
            kwargs["device"] = "meta"
        elif function is torch.Tensor.to and args[0].is_meta:  # a builder that moves its parts: weights stay on meta
            args = tuple("meta" if isinstance(argument, (str, torch.device)) else argument for argument in args)
            kwargs |= {"device": "meta"} if "device" in kwargs else {}
        elif function in _FILLS or getattr(function, "__module__", None) == "torch.nn.init":
            tensor = kwargs["tensor"] if "tensor" in kwargs else args[0]
            if tensor.is_meta:
                return tensor
        return function(*args, **kwargs)


def build_on_meta(builder: Callable[..., nn.Module], *args: Any, **kwargs: Any) -> nn.Module:
    """Call `builder` and return its network on the meta device, in evaluation mode.

    A network of a billion weights takes a second and a few megabytes. Its parameters count as usual, its forward
    computes shapes only.
    """
    with _WeightsOnMeta():
        network = builder(*args, **kwargs)
    return network.to("meta").eval()
