"""The selective scan as an operator of torch's: what is kept between its two passes, whichever backend runs it.

Custom operators are opaque to torch.compile, which would otherwise trace into the wrappers of compiled kernels.
These take u and delta as the network has them, in its own type. What is as long in float32 is computed in both passes
instead of being kept.
"""

from __future__ import annotations

import math
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


def time_steps(delta: Tensor, bias: Tensor | None, softplus: bool, inside: torch.dtype) -> Tensor:
    """delta' of the recurrence, [batch, channels, length]."""
    biased = _biased(delta, bias, inside)
    return F.softplus(biased) if softplus else biased


def _biased(delta: Tensor, bias: Tensor | None, inside: torch.dtype) -> Tensor:
    return delta.to(inside) if bias is None else delta + bias.to(inside).unsqueeze(-1)


def _add_scaled(total: Tensor, tensor: Tensor, scale: Tensor) -> None:
    """total += tensor * scale of each channel, some channels at a time, so that no third tensor is as large."""
    for sums, part, factors in zip(
        *(whole.split(96, 1) for whole in (total, tensor, scale[None, :, None])), strict=True
    ):
        sums += part * factors


def _backend(name: str) -> ModuleType:
    return import_module(f"benchmark.models.layers.selective_scan_{name}")


@torch.library.custom_op("retable::selective_scan", mutates_args=())
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    softplus: bool,
    keep: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    x = u.to(A.dtype).contiguous()
    steps = time_steps(delta, delta_bias, softplus, A.dtype).contiguous()
    y, last_state, marks = _backend(backend).forward(x, steps, A, B, C, keep)
    if D is not None:
        _add_scaled(y, x, D.to(A.dtype))
    return y, last_state, marks


@selective_scan.register_fake
def _(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    softplus: bool,
    keep: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    steps = _backend(backend).STEPS
    marks = A.new_empty(u.shape[0], (u.shape[2] + steps - 1) // steps if keep else 0, A.shape[1], A.shape[0])
    return A.new_empty(u.shape), A.new_empty(*u.shape[:2], A.shape[1]), marks


@torch.library.custom_op("retable::selective_scan_backward", mutates_args=())
def _backward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    marks: Tensor,
    dy: Tensor,
    dlast: Tensor,
    softplus: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, delta, A, B, C, D and delta_bias, each in its own type; empty for D or delta_bias not given."""
    inputs = (u, delta, A, B, C, D, delta_bias)
    gradients = [A.new_empty(0) if given is None else torch.empty_like(given) for given in inputs]
    # Channels of one group of B and C need no other group: what is as long in float32 is held for some at a time.
    parts = math.gcd(B.shape[1], _backend(backend).PARTS)
    axes = (1, 1, 0, 1, 1, 0, 0, 3, 1, 1)  # of the channels, or of the groups, in each tensor
    cut = [_chunks(given, parts, axis) for given, axis in zip((*inputs, marks, dy, dlast), axes, strict=True)]
    into = [_chunks(gradient, parts, axis) for gradient, axis in zip(gradients, axes[:7], strict=True)]
    for part, targets in zip(zip(*cut, strict=True), zip(*into, strict=True), strict=True):
        for target, gradient in zip(targets, _part_backward(part, softplus, backend), strict=True):
            target.copy_(gradient)
    du, ddelta, dA, dB, dC, dD, dbias = gradients
    return du, ddelta, dA, dB, dC, dD, dbias


def _chunks(tensor: Tensor | None, parts: int, axis: int) -> tuple[Any, ...]:
    return (None,) * parts if tensor is None else tensor.chunk(parts, axis)


def _part_backward(tensors: tuple[Any, ...], softplus: bool, backend: str) -> tuple[Tensor, ...]:
    """The gradients over some groups and their channels, in the scan's type."""
    u, delta, A, B, C, D, delta_bias, marks, dy, dlast = tensors
    x = u.to(A.dtype).contiguous()
    dD = A.new_empty(0) if D is None else (dy * x).sum((0, 2))
    steps = time_steps(delta, delta_bias, softplus, A.dtype).contiguous()
    weights, upstream = (A, B.contiguous(), C.contiguous()), (dy.to(A.dtype).contiguous(), dlast.contiguous())
    du, ddelta, dA, dB, dC = _backend(backend).backward(x, steps, *weights, marks.contiguous(), *upstream)
    del x, steps
    if D is not None:
        _add_scaled(du, dy, D.to(A.dtype))
    if softplus:  # 1 and 20: beta and threshold that F.softplus has by default
        biased = _biased(delta, delta_bias, A.dtype)
        torch.ops.aten.softplus_backward.grad_input(ddelta, biased, 1, 20, grad_input=ddelta)
    return du, ddelta, dA, dB, dC, dD, A.new_empty(0) if delta_bias is None else ddelta.sum((0, 2))


@_backward.register_fake
def _(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    marks: Tensor,
    dy: Tensor,
    dlast: Tensor,
    softplus: bool,
    backend: str,
) -> tuple[Tensor, ...]:
    inputs = (u, delta, A, B, C, D, delta_bias)
    return tuple(A.new_empty(0) if given is None else torch.empty_like(given) for given in inputs)


class _Context(Protocol):
    """What torch hands from the forward pass to the backward pass."""

    softplus: bool
    backend: str

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]: ...

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...


def _save(
    ctx: _Context,
    inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None, bool, bool, str],
    output: tuple[Tensor, Tensor, Tensor],
) -> None:
    *tensors, ctx.softplus, _, ctx.backend = inputs
    ctx.save_for_backward(*tensors, output[2])


def _gradients(ctx: _Context, dy: Tensor, dlast: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    *tensors, marks = ctx.saved_tensors
    gradients = _backward(*tensors, marks, dy, dlast, ctx.softplus, ctx.backend)
    pairs = zip(gradients, tensors, strict=True)
    return (*(None if given is None else gradient for gradient, given in pairs), None, None, None)


selective_scan.register_autograd(_gradients, setup_context=_save)
