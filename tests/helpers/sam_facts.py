"""What the tests of the SAM family share: the fixtures' sizes, comparisons, and counts without memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmark.cost.meta import build_on_meta
from benchmark.models.registry import build

SMALL = {
    "width": 48,
    "depth": 4,
    "heads": 4,
    "global_blocks": [1, 3],
    "window": 3,
    "channels": 32,
    "decoder_hidden": 64,
    "quality_hidden": 32,
}  # of the fixtures, 128 x 128


def small(name: str, fixture: dict[str, Any], *, classes: int = 2, **options: Any) -> nn.Module:
    """A network of the fixtures' size with a fixture's weights, loaded strictly."""
    model = build(name, in_channels=3, out_channels=classes, spatial_shape=(128, 128), size=SMALL, **options).eval()
    model.load_state_dict(fixture["state_dict"], strict=True)
    return model


def full(name: str, side: int, *, classes: int = 2, **options: Any) -> nn.Module:
    """A network of full size on the meta device."""
    return build_on_meta(build, name, in_channels=1, out_channels=classes, spatial_shape=(side, side), **options)


def counts(model: nn.Module) -> tuple[int, int]:
    """All parameters, and those that have gradients."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained)


def largest(found: Tensor, expected: Tensor) -> float:
    """Largest absolute difference."""
    assert found.shape == expected.shape
    return (found - expected).abs().max().item()


def assert_gradient(output: Tensor, image: Tensor, norm: float, *, scale: float = 1) -> None:
    """The norm of d mean(output²) / d image, times `scale`, is the fixture's within 1e-4."""
    (gradient,) = torch.autograd.grad(output.square().mean(), image)
    torch.testing.assert_close(scale * gradient.norm().item(), norm, rtol=1e-4, atol=0)
