"""The selective scan as its definition reads: one step of the recurrence after another, for tests."""

from __future__ import annotations

import torch
from torch import Tensor


def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """y [b,d,l] and the last state [b,d,n]; arguments as in `selective_scan`, differentiated by autograd."""
    per_group = u.shape[1] // B.shape[1]
    B, C = (weight.repeat_interleave(per_group, dim=1) for weight in (B, C))  # [b,d,n,l]
    decay = torch.exp(delta.unsqueeze(2) * A.unsqueeze(-1))
    drive = (delta * u).unsqueeze(2) * B
    state = u.new_zeros(*u.shape[:2], A.shape[1])
    outputs = []
    # unbind, because the gradient of picking one step would be a zero tensor of full length at every step
    for decay_t, drive_t, C_t in zip(decay.unbind(-1), drive.unbind(-1), C.unbind(-1), strict=True):
        state = decay_t * state + drive_t
        outputs.append((state * C_t).sum(-1))
    return (torch.stack(outputs, -1) if outputs else torch.zeros_like(u)), state
