"""The selective scan on GPUs in Triton: nothing is compiled at installation.

Time is cut into chunks. Within a chunk the recurrence is an associative scan over pairs (decay, state), done for all
N states of a channel at once; between chunks a state is carried. The forward kernel runs over the chunks of one channel
and stores the state before each. The backward pass first carries the gradient of the state from the last chunk to the
first, after which all chunks are independent; a block of channels of one chunk is one program, so that the gradients of
B and C are summed in registers and then over few blocks, in a fixed order (no atomic additions).
"""

# Kernels are Triton's language: what is written at a parameter says how Triton compiles it.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

STEPS = 128  # time steps of a chunk
BLOCK = 16  # channels whose gradients of B and C are summed in registers
PARTS = 1  # of the backward pass: one launch for all groups fills a GPU


@triton.jit
def _combine(decay_1, state_1, decay_2, state_2):
    return decay_1 * decay_2, decay_2 * state_1 + state_2


@triton.jit
def _forward_kernel(
    u, delta, A, B, C, y, last, marks, channels, length, chunks, per_group,
    state: tl.constexpr, STATE: tl.constexpr, T: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    batch, channel = tl.program_id(0).to(tl.int64), tl.program_id(1)
    row = batch * channels + channel
    group = batch * (channels // per_group) + channel // per_group
    n, k = tl.arange(0, STATE), tl.arange(0, T)
    a = tl.load(A + channel * state + n, n < state, 0.0)
    carried = tl.zeros([STATE], tl.float32)
    for chunk in range(chunks):
        t = chunk * T + k
        inside = (n < state)[:, None] & (t < length)[None, :]
        where = (group * state + n)[:, None] * length + t[None, :]
        if KEEP:
            tl.store(marks + ((batch * chunks + chunk) * state + n) * channels + channel, carried, n < state)
        dt = tl.load(delta + row * length + t, t < length, 0.0)
        x = dt * tl.load(u + row * length + t, t < length, 0.0)
        drive = x[None, :] * tl.load(B + where, inside, 0.0)
        decay, states = tl.associative_scan((tl.exp(a[:, None] * dt[None, :]), drive), 1, _combine)
        states += decay * carried[:, None]
        out = tl.sum(states * tl.load(C + where, inside, 0.0), 0)
        tl.store(y + row * length + t, out, t < length)
        # Beyond the end dt is 0 and nothing is added, so the last column holds the last state.
        carried = tl.sum(tl.where((k == T - 1)[None, :], states, 0.0), 1)
    tl.store(last + row * state + n, carried, n < state)


@triton.jit
def _carry_kernel(
    delta, A, C, dy, dlast, carries, channels, length, chunks, per_group,
    state: tl.constexpr, STATE: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Store, for each chunk, the gradient of the state after the first step of the next one."""
    batch, channel = tl.program_id(0).to(tl.int64), tl.program_id(1)
    row = batch * channels + channel
    group = batch * (channels // per_group) + channel // per_group
    n, k = tl.arange(0, STATE), tl.arange(0, T)
    a = tl.load(A + channel * state + n, n < state, 0.0)
    carried = tl.load(dlast + row * state + n, n < state, 0.0)
    for back in range(chunks):
        chunk = chunks - 1 - back
        t = chunk * T + k
        inside = (n < state)[:, None] & (t < length)[None, :]
        tl.store(carries + ((batch * chunks + chunk) * state + n) * channels + channel, carried, n < state)
        later = tl.exp(a[:, None] * tl.load(delta + row * length + t + 1, t + 1 < length, 0.0)[None, :])
        c_out = tl.load(C + (group * state + n)[:, None] * length + t[None, :], inside, 0.0)
        direct = tl.load(dy + row * length + t, t < length, 0.0)[None, :] * c_out
        reach, grad = tl.associative_scan((later, direct), 1, _combine, reverse=True)
        grad += reach * carried[:, None]
        carried = tl.sum(tl.where((k == 0)[None, :], grad, 0.0), 1)


@triton.jit
def _backward_kernel(
    u, delta, A, B, C, marks, carries, dy, du, ddelta, dA, dB, dC, channels, length, chunks, per_group, blocks,
    state: tl.constexpr, STATE: tl.constexpr, T: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    batch, block, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    groups = channels // per_group
    group, start = block // blocks, block % blocks * WIDTH
    n, k = tl.arange(0, STATE), tl.arange(0, T)
    t = chunk * T + k
    inside = (n < state)[:, None] & (t < length)[None, :]
    where = ((batch * groups + group) * state + n)[:, None] * length + t[None, :]
    b_in, c_out = tl.load(B + where, inside, 0.0), tl.load(C + where, inside, 0.0)
    sum_b, sum_c = tl.zeros([STATE, T], tl.float32), tl.zeros([STATE, T], tl.float32)
    for i in range(tl.minimum(WIDTH, per_group - start)):
        channel = group * per_group + start + i
        time = (batch * channels + channel) * length + t
        mark = ((batch * chunks + chunk) * state + n) * channels + channel
        a = tl.load(A + channel * state + n, n < state, 0.0)[:, None]
        dt = tl.load(delta + time, t < length, 0.0)
        w, gy = tl.load(u + time, t < length, 0.0), tl.load(dy + time, t < length, 0.0)
        x = dt * w
        drive = x[None, :] * b_in
        decays, states = tl.associative_scan((tl.exp(a * dt[None, :]), drive), 1, _combine)
        states += decays * tl.load(marks + mark, n < state, 0.0)[:, None]
        later = tl.exp(a * tl.load(delta + time + 1, t + 1 < length, 0.0)[None, :])
        reach, grad = tl.associative_scan((later, gy[None, :] * c_out), 1, _combine, reverse=True)
        grad += reach * tl.load(carries + mark, n < state, 0.0)[:, None]
        kept = grad * (states - drive)  # what the state before this step contributes, times its gradient
        sum_b += grad * x[None, :]
        sum_c += gy[None, :] * states
        into = tl.sum(grad * b_in, 0)
        tl.store(du + time, into * dt, t < length)
        tl.store(ddelta + time, into * w + tl.sum(kept * a, 0), t < length)
        tl.store(dA + mark, tl.sum(kept * dt[None, :], 1), n < state)
    partial = (((block % blocks) * tl.num_programs(0) + batch) * groups + group) * state
    where = (partial + n)[:, None] * length + t[None, :]
    tl.store(dB + where, sum_b, inside)
    tl.store(dC + where, sum_c, inside)


def _sizes(u: Tensor, B: Tensor) -> tuple[dict[str, int], int]:
    state = B.shape[2]
    chunks = math.ceil(u.shape[2] / STEPS)
    return {"state": state, "STATE": triton.next_power_of_2(state), "T": STEPS}, chunks


def forward(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    """y [b,d,l], last state [b,d,n] and, if `keep`, the states before each chunk [b, chunks, n, d]; float32."""
    _check(u)
    batch, channels, length = u.shape
    sizes, chunks = _sizes(u, B)
    y, last = torch.empty_like(u), u.new_zeros(batch, channels, B.shape[2])
    marks = u.new_empty(batch, chunks if keep else 0, B.shape[2], channels)
    if u.numel() > 0:
        _forward_kernel[batch, channels](
            u, delta, A, B, C, y, last, marks, channels, length, chunks, channels // B.shape[1], **sizes, KEEP=keep
        )
    return y, last, marks


def backward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, marks: Tensor, dy: Tensor, dlast: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, delta, A, B, C."""
    if u.numel() == 0:
        du, ddelta, dA, dB, dC = (torch.zeros_like(tensor) for tensor in (u, delta, A, B, C))
        return du, ddelta, dA, dB, dC
    batch, channels, length = u.shape
    groups, state = B.shape[1:3]
    per_group = channels // groups
    sizes, chunks = _sizes(u, B)
    blocks = math.ceil(per_group / BLOCK)
    carries, dA = torch.empty_like(marks), torch.empty_like(marks)
    du, ddelta = torch.empty_like(u), torch.empty_like(u)
    dB, dC = (u.new_empty(blocks, batch, groups, state, length) for _ in range(2))
    shape = (channels, length, chunks, per_group)
    _carry_kernel[batch, channels](delta, A, C, dy, dlast, carries, *shape, **sizes)
    _backward_kernel[batch, groups * blocks, chunks](
        u, delta, A, B, C, marks, carries, dy, du, ddelta, dA, dB, dC, *shape, blocks, **sizes, WIDTH=BLOCK
    )
    return du, ddelta, dA.sum((0, 1)).T, dB.sum(0), dC.sum(0)


def _check(u: Tensor) -> None:
    if u.dtype != torch.float32:
        raise RuntimeError("the Triton scan computes in float32; use backend='reference' for float64")
