"""What one call of an ATen operator costs: multiply-adds, floating-point operations, and fvcore's figure.

The tables are keyed by the operator's name without overload and without the underscore of the in-place form. Costs per
element are literal operation counts of the textbook formula, a transcendental function being one operation.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from torch import Tensor

Cost = Callable[[dict[str, Any], Any], int]


def first_tensor(output: Any) -> Tensor | None:
    """The output itself, or the first tensor of a tuple or list of outputs."""
    if isinstance(output, (tuple, list)):
        return next((item for item in output if isinstance(item, Tensor)), None)
    return output if isinstance(output, Tensor) else None


def _tensor_of(output: Any) -> Tensor:
    """`first_tensor` of an operator that always gives one."""
    tensor = first_tensor(output)
    if tensor is None:
        raise ValueError(f"an operator without a tensor in its output: {output!r}")
    return tensor


# Multiply-adds of products and convolutions.


def _product(left: str, right: str) -> Cost:
    def multiply_adds(call: dict[str, Any], output: Any) -> int:
        rows, columns = call[left].shape, call[right].shape
        return prod(rows) * (columns[-1] if len(columns) > 1 else 1)

    return multiply_adds


def _convolution(call: dict[str, Any], output: Any) -> int:
    sites = (call["input"] if call["transposed"] else output).shape
    return sites[0] * prod(sites[2:]) * call["weight"].numel()


def _attention_scores(call: dict[str, Any]) -> int:
    return prod(call["query"].shape[:-1]) * call["key"].shape[-2]


def _attention(call: dict[str, Any], output: Any) -> int:
    return _attention_scores(call) * (call["query"].shape[-1] + call["value"].shape[-1])


# On the meta device attention falls apart into products and a softmax; elsewhere it is one of these.
FUSED_ATTENTION = tuple(
    f"_scaled_dot_product_{kind}attention{suffix}"
    for kind, suffix in (("flash_", ""), ("flash_", "_for_cpu"), ("efficient_", ""), ("cudnn_", ""))
)

MULTIPLY_ADDS: dict[str, Cost] = {
    **dict.fromkeys(FUSED_ATTENTION, _attention),
    "mm": _product("self", "mat2"),
    "addmm": _product("mat1", "mat2"),
    "bmm": _product("self", "mat2"),
    "baddbmm": _product("batch1", "batch2"),
    "mv": _product("self", "vec"),
    "addmv": _product("mat", "vec"),
    "dot": _product("self", "tensor"),
    "convolution": _convolution,
}
_WITH_BIAS = {"addmm", "baddbmm", "addmv"}


# The complete convention: every operator; a multiply-add is two operations.


def _per_output(operations: int) -> Cost:
    return lambda call, output: operations * _tensor_of(output).numel()


def _per_input(operations: int) -> Cost:
    return lambda call, output: operations * (call["self"] if "self" in call else call["input"]).numel()


def _normalisation(call: dict[str, Any], output: Any) -> int:
    """Mean 1, variance 3, normalising 2, affine 2 per element; with stored statistics one scale and one shift."""
    if call.get("training") is False:
        return 2 * call["input"].numel()
    return (6 if call.get("weight") is None else 8) * call["input"].numel()


def _pooling(call: dict[str, Any], output: Any) -> int:
    result = _tensor_of(output)
    dimensions = result.dim() - 2
    kernel = list(call["kernel_size"])
    return result.numel() * prod(kernel if len(kernel) > 1 else kernel * dimensions)


def _gelu(call: dict[str, Any], output: Any) -> int:
    return (9 if call.get("approximate") == "tanh" else 5) * output.numel()


COMPLETE: dict[str, Cost] = {
    **dict.fromkeys(("native_layer_norm", "native_group_norm", "native_batch_norm"), _normalisation),
    **dict.fromkeys(("_softmax", "_safe_softmax", "_log_softmax"), _per_output(5)),
    **dict.fromkeys(("leaky_relu", "_prelu_kernel", "hardtanh", "addcmul", "addcdiv"), _per_output(2)),
    **dict.fromkeys(("softplus", "elu", "lerp"), _per_output(3)),
    **dict.fromkeys(("silu", "mish"), _per_output(5)),
    "sigmoid": _per_output(4),
    "gelu": _gelu,
    **dict.fromkeys(("sum", "mean", "amax", "amin", "max", "min", "prod", "cumsum", "logsumexp"), _per_input(1)),
    "linalg_vector_norm": _per_input(2),
    **dict.fromkeys(("var", "std", "var_mean"), _per_input(4)),
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool2d", "avg_pool3d"), _pooling),
    **dict.fromkeys(("_adaptive_avg_pool2d", "_adaptive_avg_pool3d"), _per_input(1)),
    "upsample_linear1d": _per_output(4),
    **dict.fromkeys(("upsample_bilinear2d", "_upsample_bilinear2d_aa", "grid_sampler_2d"), _per_output(8)),
    **dict.fromkeys(("upsample_trilinear3d", "grid_sampler_3d"), _per_output(16)),
    "upsample_bicubic2d": _per_output(32),
}

# Moving, choosing and making numbers is no arithmetic.
_FREE = """
_to_copy _unsafe_view arange bernoulli cat clone constant_pad_nd copy empty empty_like empty_strided eye fill
flip full full_like gather im2col index index_add index_copy index_put index_select linspace masked_fill
masked_select native_dropout new_empty new_full new_ones new_zeros normal ones ones_like pixel_shuffle
pixel_unshuffle rand rand_like randn randn_like reflection_pad2d reflection_pad3d repeat replication_pad2d
replication_pad3d resize roll scalar_tensor scatter select_scatter slice_scatter sort stack topk tril triu
uniform upsample_nearest1d upsample_nearest2d upsample_nearest3d where zero zeros zeros_like
"""
FREE = frozenset(_FREE.split())


def complete_cost(name: str, call: dict[str, Any], output: Any, *, pointwise: bool) -> int | None:
    """Floating-point operations of one call; None where the operator is not known.

    Args:
        name: operator without overload and in-place underscore.
        call: its arguments by schema name.
        pointwise: PyTorch tags it as elementwise; such an operator costs one operation per output unless listed.
    """
    if name in FUSED_ATTENTION:  # scaling of both factors, softmax, bias
        masked = call.get("attn_mask", call.get("attn_bias")) is not None
        scaling = call["query"].numel() + call["key"].numel()
        return 2 * MULTIPLY_ADDS[name](call, output) + scaling + (5 + masked) * _attention_scores(call)
    if name in MULTIPLY_ADDS:
        bias = name in _WITH_BIAS or (name == "convolution" and call["bias"] is not None)
        return 2 * MULTIPLY_ADDS[name](call, output) + bias * output.numel()
    if name in FREE:
        return 0
    result = first_tensor(output)
    if result is None or not (result.is_floating_point() or result.is_complex()):
        return 0  # masks, indices
    if name in COMPLETE:
        return COMPLETE[name](call, output)
    return result.numel() if pointwise else None


# fvcore 0.1.5: the operators it counts by default, with its constants.


def _fvcore_norm(call: dict[str, Any], output: Any) -> int:
    affine = call.get("weight") is not None
    if call.get("training") is False:
        return (2 if affine else 1) * call["input"].numel()
    return (5 if affine else 4) * call["input"].numel()


FVCORE: dict[str, Cost] = {
    **MULTIPLY_ADDS,
    **dict.fromkeys(("native_layer_norm", "native_group_norm", "native_batch_norm"), _fvcore_norm),
    "upsample_nearest2d": _per_output(1),
    "upsample_bilinear2d": _per_output(4),
    "grid_sampler_2d": _per_output(4),
}


def fvcore_einsum(equation: str, shapes: list[tuple[int, ...]]) -> int:
    """fvcore's figure for an einsum: exact for two batched-product equations, else half of numpy's estimate.

    numpy prints that estimate to four digits and fvcore reads it back, so the rounding is part of the convention.
    """
    letters = dict.fromkeys(letter for letter in equation if letter.isalpha())
    canonical = equation.replace(" ", "").translate({ord(letter): 97 + i for i, letter in enumerate(letters)})
    if canonical == "abc,abd->acd":
        return prod(shapes[0]) * shapes[1][-1]
    if canonical == "abc,adc->adb":
        return prod(shapes[0]) * shapes[1][1]
    arrays = [np.broadcast_to(np.float32(0), shape) for shape in shapes]
    report = np.einsum_path(canonical, *arrays, optimize="optimal")[1]
    line = next(line for line in report.splitlines() if "optimized flop" in line.lower())
    return int(float(line.split(":")[-1]) // 2)
