"""Operators of the complete convention, each with a call and the operations it takes, multiplied out by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.models.layers.selective_scan import selective_scan


def t(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def scan(**more: Tensor) -> Tensor:
    """2 samples, 4 channels, 5 steps, 3 states."""
    return selective_scan(t(2, 4, 5), t(2, 4, 5), t(4, 3), t(2, 3, 5), t(2, 3, 5), **more)


HAND_COUNTS = [
    # a multiply-add is two operations, a bias one per output
    (
        "convolution",
        lambda: F.conv3d(t(1, 2, 3, 4, 5), t(7, 2, 3, 3, 3), t(7), padding=1),
        2 * 60 * 7 * 2 * 27 + 7 * 60,
    ),
    ("convolution", lambda: F.conv2d(t(2, 8, 6, 6), t(8, 1, 3, 3), stride=2, padding=1, groups=8), 2 * 2 * 9 * 8 * 9),
    ("convolution", lambda: F.conv_transpose2d(t(1, 4, 3, 3), t(4, 6, 2, 2), t(6), 2), 2 * 9 * 4 * 6 * 4 + 6 * 36),
    ("mm", lambda: t(3, 4) @ t(4, 5), 2 * 3 * 4 * 5),
    ("addmm", lambda: F.linear(t(3, 4), t(5, 4), t(5)), 2 * 3 * 4 * 5 + 3 * 5),
    ("bmm", lambda: t(2, 3, 4) @ t(2, 4, 5), 2 * 2 * 3 * 4 * 5),
    ("baddbmm", lambda: torch.baddbmm(t(2, 3, 1), t(2, 3, 4), t(2, 4, 5)), 2 * 2 * 3 * 4 * 5 + 2 * 3 * 5),
    # elementwise: one per output, however hard the function
    ("add", lambda: t(3, 4) + t(4), 12),
    ("sub", lambda: t(3, 4) - 1, 12),
    ("mul", lambda: t(3, 4) * 2, 12),
    ("div", lambda: t(3, 1) / t(4), 12),
    ("neg", lambda: -t(3, 4), 12),
    ("exp", lambda: t(3, 4).exp(), 12),
    ("sqrt", lambda: t(3, 4).sqrt(), 12),
    ("sin", lambda: t(3, 4).sin(), 12),
    ("cos", lambda: t(3, 4).cos(), 12),
    ("tanh", lambda: t(3, 4).tanh(), 12),
    ("hardtanh", lambda: F.relu6(t(3, 4)), 2 * 12),  # two comparisons
    ("clamp_min", lambda: t(3, 4).clamp_min(0), 12),
    ("relu", lambda: t(3, 4).relu(), 12),
    ("leaky_relu", lambda: F.leaky_relu(t(3, 4)), 2 * 12),  # comparison, product
    ("_prelu_kernel", lambda: F.prelu(t(3, 4), t(4)), 2 * 12),
    ("silu", lambda: F.silu(t(3, 4)), 5 * 12),  # negation, exponential, sum, quotient, product
    ("sigmoid", lambda: t(3, 4).sigmoid(), 4 * 12),  # negation, exponential, sum, quotient
    ("gelu", lambda: F.gelu(t(3, 4)), 5 * 12),  # scaling, erf, sum, two products
    ("_softmax", lambda: t(3, 4).softmax(-1), 5 * 12),  # maximum, difference, exponential, sum, quotient
    ("_safe_softmax", lambda: torch.ops.aten._safe_softmax(t(3, 4), -1), 5 * 12),
    # reductions: one per input
    ("mean", lambda: t(3, 4).mean(-1), 12),
    ("linalg_vector_norm", lambda: torch.linalg.vector_norm(t(3, 4), dim=-1), 2 * 12),  # square, sum
    ("var_mean", lambda: torch.var_mean(t(3, 4), dim=-1), 4 * 12),  # mean; difference, square, sum
    # mean 1, variance 3, difference and quotient 2, gain and shift 2; one scale and one shift with stored statistics
    ("native_batch_norm", lambda: F.instance_norm(t(2, 3, 4, 5)), 6 * 120),
    ("native_batch_norm", lambda: F.instance_norm(t(2, 3, 4, 5), weight=t(3), bias=t(3)), 8 * 120),
    ("native_batch_norm", lambda: F.batch_norm(t(2, 3, 4, 5), t(3), t(3), t(3), t(3)), 2 * 120),
    ("native_layer_norm", lambda: F.layer_norm(t(3, 4), (4,), t(4), t(4)), 8 * 12),
    ("native_group_norm", lambda: F.group_norm(t(2, 4, 3), 2, t(4), t(4)), 8 * 24),
    # a pooling: the elements of its kernel per output; linear interpolation: two per neighbour and output
    ("max_pool2d_with_indices", lambda: F.max_pool2d(t(1, 2, 8, 8), 3, 2, 1), 2 * 16 * 9),
    ("max_pool3d_with_indices", lambda: F.max_pool3d(t(1, 2, 4, 4, 4), 2), 2 * 8 * 8),
    ("avg_pool2d", lambda: F.avg_pool2d(t(1, 2, 8, 6), (2, 3)), 2 * 4 * 2 * 6),
    ("upsample_bilinear2d", lambda: F.interpolate(t(1, 2, 3, 4), scale_factor=2, mode="bilinear"), 8 * 2 * 6 * 8),
    ("upsample_bicubic2d", lambda: F.interpolate(t(1, 2, 3, 4), scale_factor=2, mode="bicubic"), 32 * 2 * 6 * 8),
    ("upsample_trilinear3d", lambda: F.interpolate(t(1, 2, 2, 2, 2), scale_factor=2, mode="trilinear"), 16 * 2 * 64),
    # 7 per state, 5 per channel and step; 2 more with a skip connection, 6 with a gate
    ("selective_scan", scan, 7 * 2 * 4 * 5 * 3 + 5 * 2 * 4 * 5),
    ("selective_scan", lambda: scan(D=t(4), z=t(2, 4, 5)), 7 * 2 * 4 * 5 * 3 + (5 + 2 + 6) * 2 * 4 * 5),
]
