"""Activation checkpointing: trade a second forward for the memory of the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def maybe_checkpoint(enabled: bool, function: Callable[..., Any], *inputs: Any) -> Any:
    """`function(*inputs)`; where `enabled` and a gradient is wanted, without keeping its inner activations.

    Batch norms inside a module take their running statistics from the first forward alone. `torch.compile` decides by
    itself what of such a module it recomputes.
    """
    if not enabled or not torch.is_grad_enabled():
        return function(*inputs)
    parts = function.modules() if isinstance(function, nn.Module) else ()
    norms = [part for part in parts if isinstance(part, _BatchNorm)]
    if not norms:
        return checkpoint(function, *inputs, use_reentrant=False)
    if torch.compiler.is_compiling():
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False, context_fn=partial(_contexts, norms))


def _contexts(norms: list[_BatchNorm]) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Of the first forward and of its repetition."""
    return nullcontext(), _statistics_kept(norms)


@contextmanager
def _statistics_kept(norms: list[_BatchNorm]) -> Iterator[None]:
    """With momentum 0 a running mean stays what it is; the count of batches is put back."""
    momenta = [norm.momentum for norm in norms]
    counts = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
    before = [count.clone() for count in counts]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for count, batches in zip(counts, before, strict=True):
            count.copy_(batches)
