"""FLOPs of one forward pass, counted while the network runs on the meta device.

Two conventions, both at batch 1 in evaluation mode:

`fvcore`    one multiply-add = 1; only the operators that fvcore 0.1.5 counts by default (products, convolutions,
            einsum, normalisations at 4 or 5 per element, bilinear and nearest 2-D upsampling, adaptive 2-D pooling),
            plus 9·B·L·D·N + B·D·L for a selective scan. This is how the Swin-UMamba papers counted: their authors name
            fvcore with the scan handle of state-spaces/mamba issue 110 (JiarunLiu/Swin-UMamba issue 11). Activations,
            softmax and additions are not counted. One difference: fused attention is counted as the two products it
            is, a batched product with bias as the product. fvcore skips both, but the released networks write them out
            (or as convolutions), and fvcore counted those.
`complete`  one multiply-add = 2; every floating-point operator, by the tables in `cost.operators`.

fvcore traces a network, which computes it. Here a dispatch mode sees each ATen operator instead, with shapes only, so
that a network at 128³ costs no memory and about a second. docs/cost.md has the details and the checks.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark.cost.function_mode import Function, FunctionMode
from benchmark.cost.operators import FVCORE, MULTIPLY_ADDS, complete_cost, fvcore_einsum

SCAN_MODULE = "benchmark.models.layers.selective_scan"


@dataclass
class Flops:
    """Cost of one forward pass, by operator.

    Attributes:
        fvcore, complete: operations by operator in the two conventions.
        multiply_adds: multiply-adds of matrix products and convolutions alone ("GMACs" of most model tables).
        unknown: calls of floating-point operators that the complete convention has no cost for; empty is the aim.
    """

    fvcore: Counter[str] = field(default_factory=Counter)
    complete: Counter[str] = field(default_factory=Counter)
    multiply_adds: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)

    def total(self, convention: str) -> int:
        """Sum over operators of "fvcore", "complete" or "multiply_adds"."""
        return sum(getattr(self, convention).values())


def count_flops(network: nn.Module, input_shape: Sequence[int]) -> Flops:
    """Count one forward pass of `network` on an input of shape [1, channels, *spatial].

    The network is meant to be on the meta device (`cost.meta.build_on_meta`); on another device it is really computed.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("meta"))
    training = network.training
    network.eval()
    try:
        with torch.no_grad(), counting() as flops:
            network(torch.empty(tuple(input_shape), device=device))
    finally:
        network.train(training)
    return flops


@contextmanager
def counting() -> Iterator[Flops]:
    """Everything computed inside is added to the yielded `Flops`.

    Where only deterministic algorithms are allowed torch takes some operators apart, which must not change a count.
    """
    flops = Flops()
    scan = sys.modules.get(SCAN_MODULE)  # absent unless a network that scans has been imported
    with ExitStack() as stack:
        stack.callback(torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled(),
                       warn_only=torch.is_deterministic_algorithms_warn_only_enabled())  # fmt: skip
        torch.use_deterministic_algorithms(False)
        if scan is not None:
            observer = _scan_observer(flops)
            scan.observers.append(observer)
            stack.callback(scan.observers.remove, observer)
        composites = stack.enter_context(_Composites(flops))
        stack.enter_context(_Operators(flops, composites))
        yield flops


class _Composites(FunctionMode):
    """Functions that fvcore sees as one operator but that reach the dispatcher in pieces."""

    def __init__(self, flops: Flops) -> None:
        super().__init__()
        self.flops, self.inside = flops, False

    def call(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if function is torch.einsum:
            operands = args[1] if isinstance(args[1], (list, tuple)) else args[1:]
            shapes = [tuple(operand.shape) for operand in operands]
            self.flops.fvcore["einsum"] += fvcore_einsum(args[0], shapes)
        elif function is F.adaptive_avg_pool2d:
            self.flops.fvcore["adaptive_avg_pool2d"] += args[0].numel()
        else:
            return function(*args, **kwargs)
        self.inside = True
        try:
            return function(*args, **kwargs)
        finally:
            self.inside = False


class _Operators(TorchDispatchMode):
    """Every ATen operator, below autograd and after composite functions are taken apart."""

    def __init__(self, flops: Flops, composites: _Composites) -> None:
        super().__init__()
        self.flops, self.composites = flops, composites

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = function(*args, **(kwargs or {}))
        if function.namespace == "aten" and not function.is_view:
            self._add(function, args, kwargs or {}, output)
        return output

    def _add(self, function: Any, args: Sequence[Any], kwargs: dict[str, Any], output: Any) -> None:
        name = function.overloadpacket.__name__.removesuffix("_")
        call = {argument.name: value for argument, value in zip(function._schema.arguments, args, strict=False)}
        call.update(kwargs)
        if name in MULTIPLY_ADDS:
            self.flops.multiply_adds[name] += MULTIPLY_ADDS[name](call, output)
        if name in FVCORE and not self.composites.inside:
            self.flops.fvcore[name] += FVCORE[name](call, output)
        cost = complete_cost(name, call, output, pointwise=torch.Tag.pointwise in function.tags)
        if cost is None:
            self.flops.unknown[name] += 1
        elif cost:
            self.flops.complete[name] += cost


def _scan_observer(flops: Flops) -> Callable[[Any], None]:
    def observe(call: Any) -> None:
        sites = call.batch * call.length * call.channels
        flops.fvcore["selective_scan"] += 9 * sites * call.state + sites
        # Per state: delta·A, exp, B·(delta·u), state·decay, their sum, C·state and its sum. Per site: bias and softplus
        # of delta, delta·u; then the skip connection, and SiLU and product of the gate.
        once = 5 + 2 * call.skip + 6 * call.gate
        flops.complete["selective_scan"] += 7 * sites * call.state + once * sites

    return observe
