"""The selective scan on CPUs: compiled kernels that keep one state in thirty-two.

The recurrence runs along time for a block of channels at once, so that the inner loop is a vector instruction. The
backward pass walks back over the stored states and recomputes those between them in a small buffer.

Work is cut into tasks by shape alone and each task writes its own partial sums, so the result does not depend on the
number of threads. The kernels release the interpreter lock and are spread over plain threads, as many as torch uses:
numba's own thread pool survives neither a fork nor two callers at once.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from numba import njit, types
from numba.extending import overload
from torch import Tensor

BLOCK = 32  # channels advanced together: one to four vector registers
STEPS = 32  # time steps between two stored states
TASKS = 16  # tasks wanted at least; more only where batch and groups give more
PARTS = 8  # at most, of the backward pass: one after another, each with some groups

_jit = njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})


def _exp(x: float) -> float:
    """exp(x), in single precision as a polynomial that vectorises (2 units in the last place)."""
    return math.exp(x)


@overload(_exp, inline="always")
def _exp_overload(x):
    # type: (types.Type) -> Callable[[np.float32], np.float32] | Callable[[float], float]
    # (numba asks that annotations here and there agree, which they cannot; hence the comments.)
    if x is not types.float32:
        return lambda x: math.exp(x)
    log2_e, ln2_high, ln2_low = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
    # Minimax coefficients of (exp(r) - 1 - r) / r**2 on [-ln(2)/2, ln(2)/2], as in the Cephes library.
    c0, c1, c2 = np.float32(5.0000001201e-1), np.float32(1.6666665459e-1), np.float32(4.1665795894e-2)
    c3, c4, c5 = np.float32(8.3334519073e-3), np.float32(1.3981999507e-3), np.float32(1.9875691500e-4)
    half, one, low, high = np.float32(0.5), np.float32(1.0), np.float32(-87.0), np.float32(88.0)
    bias, mantissa = np.int32(127), np.int32(23)

    def exp32(x):
        # type: (np.float32) -> np.float32
        x = low if x < low else x
        x = high if x > high else x
        k = np.floor(x * log2_e + half)
        r = x - k * ln2_high - k * ln2_low
        p = ((((c5 * r + c4) * r + c3) * r + c2) * r + c1) * r + c0
        return (p * r * r + r + one) * np.int32((np.int32(k) + bias) << mantissa).view(np.float32)

    return exp32


@_jit
def _forward_tasks(
    u: np.ndarray,
    delta: np.ndarray,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    y: np.ndarray,
    last: np.ndarray,
    marks: np.ndarray,
    parts: int,
    first: int,
    stop: int,
) -> None:
    groups, state, length = B.shape[1:]
    per_group = u.shape[1] // groups
    a, h = np.empty((state, BLOCK), u.dtype), np.empty((state, BLOCK), u.dtype)
    x, dt, out = np.empty((STEPS, BLOCK), u.dtype), np.empty((STEPS, BLOCK), u.dtype), np.empty(BLOCK, u.dtype)
    for task in range(first, stop):
        batch, group, part = task // (groups * parts), task // parts % groups, task % parts
        for start in range(part * BLOCK, per_group, parts * BLOCK):
            channel, width = group * per_group + start, min(BLOCK, per_group - start)
            for n in range(state):
                for c in range(width):
                    a[n, c], h[n, c] = A[channel + c, n], 0
            for begin in range(0, length, STEPS):
                steps = min(STEPS, length - begin)
                if marks.shape[1] > 0:
                    marks[batch, begin // STEPS, :, channel : channel + width] = h[:, :width]
                for c in range(width):
                    for k in range(steps):
                        dt[k, c] = delta[batch, channel + c, begin + k]
                        x[k, c] = dt[k, c] * u[batch, channel + c, begin + k]
                for k in range(steps):
                    for c in range(width):
                        out[c] = 0
                    for n in range(state):
                        b_in, c_out = B[batch, group, n, begin + k], C[batch, group, n, begin + k]
                        for c in range(width):
                            h[n, c] = _exp(dt[k, c] * a[n, c]) * h[n, c] + x[k, c] * b_in
                            out[c] += h[n, c] * c_out
                    for c in range(width):
                        y[batch, channel + c, begin + k] = out[c]
            for n in range(state):
                for c in range(width):
                    last[batch, channel + c, n] = h[n, c]


@_jit
def _replay(
    dt: np.ndarray,
    x: np.ndarray,
    a: np.ndarray,
    B: np.ndarray,
    marks: np.ndarray,
    decay: np.ndarray,
    states: np.ndarray,
    steps: int,
    width: int,
) -> None:
    """States and decays of up to STEPS time steps, from the state stored before them."""
    states[0, :, :width] = marks
    for k in range(steps):
        for n in range(a.shape[0]):
            b_in = B[n, k]
            for c in range(width):
                decay[k, n, c] = _exp(dt[k, c] * a[n, c])
                states[k + 1, n, c] = decay[k, n, c] * states[k, n, c] + x[k, c] * b_in


@_jit
def _walk_back(
    w: np.ndarray,
    dt: np.ndarray,
    x: np.ndarray,
    gy: np.ndarray,
    a: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    decay: np.ndarray,
    states: np.ndarray,
    g: np.ndarray,
    da: np.ndarray,
    du: np.ndarray,
    ddelta: np.ndarray,
    dB: np.ndarray,
    dC: np.ndarray,
    steps: int,
    width: int,
) -> None:
    """Gradients over up to STEPS time steps, last first; g and da go on to the steps before them."""
    into, along = np.empty(BLOCK, x.dtype), np.empty(BLOCK, x.dtype)
    for k in range(steps - 1, -1, -1):
        for c in range(width):
            into[c], along[c] = 0, 0
        for n in range(a.shape[0]):
            b_in, c_out = B[n, k], C[n, k]
            sum_b, sum_c = x.dtype.type(0), x.dtype.type(0)
            for c in range(width):
                gh = g[n, c] + gy[k, c] * c_out  # d loss / d state, everything later included
                sum_b += gh * x[k, c]
                sum_c += gy[k, c] * states[k + 1, n, c]
                into[c] += gh * b_in
                g[n, c] = gh * decay[k, n, c]
                kept = g[n, c] * states[k, n, c]
                along[c] += kept * a[n, c]
                da[n, c] += kept * dt[k, c]
            dB[n, k] += sum_b
            dC[n, k] += sum_c
        for c in range(width):
            du[c, k] = into[c] * dt[k, c]
            ddelta[c, k] = into[c] * w[k, c] + along[c]


@_jit
def _backward_tasks(
    u: np.ndarray,
    delta: np.ndarray,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    marks: np.ndarray,
    dy: np.ndarray,
    dlast: np.ndarray,
    du: np.ndarray,
    ddelta: np.ndarray,
    dA: np.ndarray,
    dB: np.ndarray,
    dC: np.ndarray,
    parts: int,
    first: int,
    stop: int,
) -> None:
    groups, state, length = B.shape[1:]
    per_group = u.shape[1] // groups
    decay = np.empty((STEPS, state, BLOCK), u.dtype)
    states = np.empty((STEPS + 1, state, BLOCK), u.dtype)
    a, da, g = np.empty((state, BLOCK), u.dtype), np.empty((state, BLOCK), u.dtype), np.empty((state, BLOCK), u.dtype)
    w, dt = np.empty((STEPS, BLOCK), u.dtype), np.empty((STEPS, BLOCK), u.dtype)
    x, gy = np.empty((STEPS, BLOCK), u.dtype), np.empty((STEPS, BLOCK), u.dtype)
    for task in range(first, stop):
        batch, group, part = task // (groups * parts), task // parts % groups, task % parts
        for start in range(part * BLOCK, per_group, parts * BLOCK):
            channel, width = group * per_group + start, min(BLOCK, per_group - start)
            for n in range(state):
                for c in range(width):
                    a[n, c], da[n, c], g[n, c] = A[channel + c, n], 0, dlast[batch, channel + c, n]
            for begin in range((length - 1) // STEPS * STEPS, -1, -STEPS):
                steps = min(STEPS, length - begin)
                for c in range(width):
                    for k in range(steps):
                        w[k, c], dt[k, c] = u[batch, channel + c, begin + k], delta[batch, channel + c, begin + k]
                        x[k, c], gy[k, c] = w[k, c] * dt[k, c], dy[batch, channel + c, begin + k]
                now, here = slice(begin, begin + steps), slice(channel, channel + width)
                b_in, c_out = B[batch, group, :, now], C[batch, group, :, now]
                _replay(dt, x, a, b_in, marks[batch, begin // STEPS, :, here], decay, states, steps, width)
                _walk_back(
                    w, dt, x, gy, a, b_in, c_out, decay, states, g, da,
                    du[batch, here, now], ddelta[batch, here, now],
                    dB[part, batch, group, :, now], dC[part, batch, group, :, now], steps, width,
                )  # fmt: skip
            for n in range(state):
                for c in range(width):
                    dA[batch, channel + c, n] = da[n, c]


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    # Keyed by process, because the threads of a pool do not exist in a forked child.
    return ThreadPoolExecutor(threads, thread_name_prefix="selective_scan")


def _spread(kernel: Callable[..., None], tasks: int, *arrays: object) -> None:
    threads = min(torch.get_num_threads(), tasks)
    bounds = [tasks * i // threads for i in range(threads + 1)]
    if threads == 1:
        kernel(*arrays, 0, tasks)
        return
    pool = _pool(os.getpid(), torch.get_num_threads())
    for future in [pool.submit(kernel, *arrays, low, high) for low, high in pairwise(bounds)]:
        future.result()


def _parts(batch: int, groups: int, per_group: int) -> int:
    return min(math.ceil(per_group / BLOCK), math.ceil(TASKS / (batch * groups)))


def forward(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    """y [b,d,l], last state [b,d,n] and, if `keep`, the stored states [b, ceil(l / STEPS), n, d].

    B and C are [b,groups,n,l]; everything is contiguous and of one type, float32 or float64.
    """
    batch, channels, length = u.shape
    groups, state = B.shape[1:3]
    y, last = torch.empty_like(u), u.new_zeros(batch, channels, state)
    marks = u.new_empty(batch, math.ceil(length / STEPS) if keep else 0, state, channels)
    if u.numel() > 0:
        parts = _parts(batch, groups, channels // groups)
        arrays = [tensor.numpy() for tensor in (u, delta, A, B, C, y, last, marks)]
        _spread(_forward_tasks, batch * groups * parts, *arrays, parts)
    return y, last, marks


def backward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, marks: Tensor, dy: Tensor, dlast: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, delta, A, B, C."""
    batch, channels, length = u.shape
    groups, state = B.shape[1:3]
    if u.numel() == 0:
        du, ddelta, dA, dB, dC = (torch.zeros_like(tensor) for tensor in (u, delta, A, B, C))
        return du, ddelta, dA, dB, dC
    parts = _parts(batch, groups, channels // groups)
    du, ddelta, dA = torch.empty_like(u), torch.empty_like(u), u.new_empty(batch, channels, state)
    dB, dC = (u.new_zeros(parts, batch, groups, state, length) for _ in range(2))
    arrays = [t.numpy() for t in (u, delta, A, B, C, marks, dy, dlast, du, ddelta, dA, dB, dC)]
    _spread(_backward_tasks, batch * groups * parts, *arrays, parts)
    return du, ddelta, dA.sum(0), dB.sum(0), dC.sum(0)
