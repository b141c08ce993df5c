"""Activation checkpointing: trade a second forward for the memory of the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint


def maybe_checkpoint(enabled: bool, function: Callable[..., Any], *inputs: Any) -> Any:
    """`function(*inputs)`; where `enabled` and a gradient is wanted, without keeping its inner activations."""
    if enabled and torch.is_grad_enabled():
        return checkpoint(function, *inputs, use_reentrant=False)
    return function(*inputs)
