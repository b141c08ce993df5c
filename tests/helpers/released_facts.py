"""What the tests of released networks share: seeded weights, comparisons with the reference and its fixtures."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def read_keys(path: Path) -> dict[str, dict[str, list[int]]]:
    """Configuration label -> released state-dict key -> shape."""
    with gzip.open(path, "rt") as stream:
        return json.load(stream)


def shapes(model: nn.Module) -> dict[str, list[int]]:
    return {key: list(tensor.shape) for key, tensor in model.state_dict().items()}


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Parameters per top-level submodule; those the network owns itself under '(own parameters)'."""
    counts = {name: sum(p.numel() for p in child.parameters()) for name, child in model.named_children()}
    own = sum(p.numel() for p in model.parameters(recurse=False))
    return counts | ({"(own parameters)": own} if own else {})


def assert_counts(model: nn.Module, facts: dict[str, Any]) -> None:
    """Total and per-submodule counts equal the reference's (submodules without parameters need not exist)."""
    wanted = {name: count for name, count in facts["params_by_submodule"].items() if count}
    assert {name: count for name, count in parameter_counts(model).items() if count} == wanted
    assert sum(p.numel() for p in model.parameters()) == facts["params"]


def fill_by_recipe(state: dict[str, Tensor], gain: float) -> dict[str, Tensor]:
    """The fixtures' `weights_recipe`: every floating tensor drawn from a generator seeded by the CRC of its key."""
    filled = {}
    for key, tensor in state.items():
        generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
        if not tensor.is_floating_point():
            filled[key] = tensor
        elif key.endswith("running_var"):
            filled[key] = 1 + 0.2 * torch.rand(tensor.shape, generator=generator)
        elif tensor.ndim >= 2:
            scale = gain * 2 / (tensor.numel() / tensor.shape[0]) ** 0.5
            filled[key] = torch.randn(tensor.shape, generator=generator) * scale
        elif key.endswith(("weight", "gamma")):
            filled[key] = 1 + 0.1 * torch.randn(tensor.shape, generator=generator)
        else:
            filled[key] = 0.1 * torch.randn(tensor.shape, generator=generator)
    return filled


def assert_checksums(state: dict[str, Tensor], checksums: dict[str, Any]) -> None:
    """The seeded weights are the ones of the fixture: same keys, shapes, sums and sums of squares."""
    assert set(state) == set(checksums)
    for key, (shape, total, squares) in checksums.items():
        assert list(state[key].shape) == list(shape), key
        values = state[key].double()
        torch.testing.assert_close(
            torch.stack([values.sum(), values.square().sum()]), torch.tensor([total, squares]).double()
        )


def relative_difference(found: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference over the largest absolute value."""
    assert found.shape == wanted.shape
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


def assert_parity(
    model: nn.Module, fixture: dict[str, Any], *, output_tolerance: float = 1e-5, gradient_tolerance: float = 1e-4
) -> None:
    """Output, loss gradient at the input and every parameter's gradient norm agree with the released network's."""
    model.eval()
    inputs = fixture["input"] if isinstance(fixture["input"], (list, tuple)) else [fixture["input"]]
    image = inputs[0].clone().requires_grad_()
    outputs = model(image, *inputs[1:])
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    wanted = fixture["output"] if isinstance(fixture["output"], (list, tuple)) else [fixture["output"]]
    assert len(outputs) == len(wanted)
    for found, expected in zip(outputs, wanted, strict=True):
        assert relative_difference(found, expected) < output_tolerance
    sum(output.float().pow(2).mean() for output in outputs).backward()
    torch.testing.assert_close(image.grad.norm().item(), fixture["grad_norm"], rtol=gradient_tolerance, atol=0)
    norms = {key: norm or 0.0 for key, norm in fixture.get("param_grad_norms", {}).items()}
    for key, expected in norms.items():
        gradient = model.get_parameter(key).grad
        found = 0.0 if gradient is None else gradient.norm().item()
        assert abs(found - expected) < 1e-3 * expected + 1e-5 * max(norms.values()), key
