"""The selective scan of Mamba (Gu and Dao, 2023, section 3), on any device.

    delta' = softplus(delta + delta_bias)
    h_t = exp(delta'_t A) h_{t-1} + delta'_t B_t u_t,    y_t = C_t h_t + D u_t,    y <- y * silu(z)

Arguments and results are those of `selective_scan_fn` in mamba-ssm (real A). Backends:

    mamba_ssm   the compiled CUDA kernel, where mamba-ssm has been built with it
    triton      our kernels for GPUs, nothing to build at installation
    native      compiled CPU kernels
    reference   the plain recurrence, any device, for tests

`auto` takes the first of them that runs on the tensors' device and type. The first three keep a few states and
recompute the others in the backward pass.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, NamedTuple, overload

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.models.layers import selective_scan_operator as operator
from benchmark.models.layers import selective_scan_reference as reference

BACKENDS = ("auto", "mamba_ssm", "triton", "native", "reference")
# What has to be importable. mamba-ssm is built without its CUDA scan unless the build was asked for it.
MODULES = {"mamba_ssm": ("mamba_ssm.ops.selective_scan_interface", "selective_scan_cuda"), "triton": ("triton",)}


def _fault(name: str) -> str | None:
    """Why a backend that is there cannot be imported, which a warning says; None: it can, or is not there."""
    if find_spec(name) is None:
        return None
    try:
        for module in MODULES[name]:
            import_module(module)
    except Exception as error:  # OSError, RuntimeError, …: whatever an extension built for another torch or driver does
        warnings.warn(f"{name} is installed and cannot be imported, so it is not used: {error!r}", stacklevel=2)
        return repr(error)
    return None


def _faults() -> dict[str, str]:
    return {name: fault for name in MODULES if (fault := _fault(name)) is not None}


# Found out here and not in the first forward, which torch.compile may be tracing.
FAULTS = _faults() if torch.cuda.is_available() else {}


class ScanCall(NamedTuple):
    """The size of one scan: u is [batch, channels, length], A is [channels, state]."""

    batch: int
    length: int
    channels: int
    state: int
    skip: bool
    gate: bool


observers: list[Callable[[ScanCall], None]] = []
"""Called once per scan, before it runs; `benchmark.cost` counts operations with it."""


@overload
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: Literal[False] = False,
    *,
    backend: str = "auto",
) -> Tensor: ...


@overload
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    return_last_state: Literal[True],
    backend: str = "auto",
) -> tuple[Tensor, Tensor]: ...


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Run the scan, in float32 inside (float64 for float64 input).

    Args:
        u, delta, z: [batch, channels, length], any float type and strides.
        A: [channels, state].
        B, C: [batch, state, length], or [batch, groups, state, length] where channel d uses group
            d // (channels / groups), or [channels, state] where they do not depend on the input.
        D, delta_bias: [channels].
        backend: a name of `BACKENDS`.

    Returns:
        y, of u's shape and type, and with `return_last_state` also the state after the last step
        [batch, channels, state], float32 or float64. An empty batch gives an empty y; on the meta device nothing runs.

    Raises:
        ValueError: an unknown backend, or shapes that do not agree.
        RuntimeError: the named backend is not installed, cannot be imported, or does not run on this device.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend is one of {BACKENDS}, not {backend!r}")
    _check_shapes(u, delta, A, B, C)
    _check_options(u, D=D, z=z, delta_bias=delta_bias)
    for observe in observers:
        observe(ScanCall(u.shape[0], u.shape[2], u.shape[1], A.shape[1], D is not None, z is not None))
    if u.is_meta:
        y = torch.empty_like(u)
        return (y, u.new_empty(*u.shape[:2], A.shape[1])) if return_last_state else y
    name = _choose(u) if backend == "auto" else backend
    _check_available(name, u)
    if name == "mamba_ssm":
        compiled = import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn
        return compiled(u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state)
    y, last_state = _scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus, name)
    return (y, last_state) if return_last_state else y


def _scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    inside = torch.float64 if u.dtype == torch.float64 else torch.float32
    A, B, C = (tensor.to(inside) for tensor in (A, B, C))
    B, C = (_grouped(weight, u) for weight in (B, C))
    groups = max(B.shape[1], C.shape[1])
    B, C = (weight.repeat_interleave(groups // weight.shape[1], dim=1).contiguous() for weight in (B, C))
    if backend == "reference":
        x = u.to(inside)
        steps = operator.time_steps(delta, delta_bias, delta_softplus, inside)
        y, last_state = reference.scan(x, steps, A, B, C)
        y = y if D is None else y + x * D.to(inside).unsqueeze(-1)
    else:
        tensors = (u, delta, A.contiguous(), B, C, D, delta_bias)
        keep = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
        y, last_state, _ = operator.selective_scan(*tensors, delta_softplus, keep, backend)
    if z is not None:
        y = y * F.silu(z.to(inside))
    return y.to(u.dtype), last_state


def _grouped(weight: Tensor, u: Tensor) -> Tensor:
    if weight.dim() == 2:  # the same at all times: every channel is its own group
        return weight[None, :, :, None].expand(u.shape[0], -1, -1, u.shape[2])
    return weight.unsqueeze(1) if weight.dim() == 3 else weight


def _check_shapes(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> None:
    batch, channels, length = u.shape
    if delta.shape != u.shape or A.dim() != 2 or A.shape[0] != channels:
        raise ValueError(f"u {tuple(u.shape)}, delta {tuple(delta.shape)} and A {tuple(A.shape)} do not agree")
    for name, weight in (("B", B), ("C", C)):
        groups = weight.shape[1] if weight.dim() == 4 else 1
        constant = weight.shape == A.shape
        varying = weight.dim() in (3, 4) and (weight.shape[0], *weight.shape[-2:]) == (batch, A.shape[1], length)
        if not constant and (not varying or channels % max(groups, 1)):
            raise ValueError(f"{name} {tuple(weight.shape)} fits neither u {tuple(u.shape)} nor A {tuple(A.shape)}")


def _check_options(u: Tensor, **options: Tensor | None) -> None:
    for name, tensor in options.items():
        shape = u.shape if name == "z" else u.shape[1:2]
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"{name} {tuple(tensor.shape)} has to be {tuple(shape)} for u {tuple(u.shape)}")


@cache
def _installed(name: str) -> bool:
    return name not in FAULTS and find_spec(name) is not None


def _choose(u: Tensor) -> str:
    if u.device.type == "cpu":
        return "native"
    if u.device.type != "cuda" or u.dtype == torch.float64 or u.numel() == 0:
        return "reference"
    return next((name for name in ("mamba_ssm", "triton") if _installed(name)), "reference")


def _check_available(name: str, u: Tensor) -> None:
    on_cpu = u.device.type == "cpu"
    if name in ("mamba_ssm", "triton"):
        if name in FAULTS:
            raise RuntimeError(f"{name} cannot be imported: {FAULTS[name]}; use backend='auto' (envs/README.md)")
        if not _installed(name):
            raise RuntimeError(f"{name} is not installed; use backend='auto' (envs/README.md)")
        interpreted = name == "triton" and os.environ.get("TRITON_INTERPRET") == "1"
        if on_cpu and not interpreted:
            raise RuntimeError(f"the {name} scan runs on GPUs; these tensors are on the CPU (use backend='native')")
    if name == "native" and not on_cpu:
        raise RuntimeError(f"the native scan runs on CPUs; these tensors are on {u.device} (use backend='auto')")
