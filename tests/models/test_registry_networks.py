"""What every network promises, asked of all of them with their demo options.

A network whose forward never reaches some parameters names them in its attribute `unused_parameters`, a tuple of
`fnmatch` patterns over parameter names (data-parallel training needs to know).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.errors import InputError
from benchmark.models.registry import ModelEntry, available_models, build, full_resolution, model_entry

CLASSES = 3


@dataclass(frozen=True)
class Case:
    """One network with its demo options, in one of the input dimensions that it supports."""

    name: str
    dimensions: int

    @property
    def entry(self) -> ModelEntry:
        return model_entry(self.name)

    def side(self) -> int:
        smallest = 32 if self.dimensions == 3 else 64
        return math.ceil(smallest / self.entry.divisor) * self.entry.divisor

    def shape(self) -> tuple[int, ...]:
        """One side twice as long: a pyramid of five halvings would leave one voxel, which InstanceNorm refuses."""
        return (self.side(),) * (self.dimensions - 1) + (2 * self.side(),)

    def build(self, shape: Sequence[int] | None = None, *, seed: int = 0, **options: Any) -> nn.Module:
        torch.manual_seed(seed)
        options = {**self.entry.demo, **options}
        return build(self.name, in_channels=1, out_channels=CLASSES, spatial_shape=shape or self.shape(), **options)


def all_cases() -> list[Case]:
    """Every registered network in every dimension; one that cannot be imported becomes a case that fails."""
    cases = []
    for name in available_models():
        try:
            dimensions = model_entry(name).spatial_dims
        except Exception:
            dimensions = (0,)  # importing it again inside the test shows the traceback there
        cases += [Case(name, d) for d in dimensions]
    return cases


@pytest.fixture(scope="module", params=all_cases(), ids=lambda case: f"{case.name}-{case.dimensions}d")
def case(request: pytest.FixtureRequest) -> Case:
    if request.param.dimensions == 0:
        importlib.import_module(f"benchmark.models.{request.param.name}")
    return request.param


@pytest.fixture(scope="module")
def network(case: Case) -> nn.Module:
    """The network at demo scale. Tests leave its weights and mode (evaluation) as they find them."""
    return case.build().eval()


@pytest.fixture(scope="module")
def patch(case: Case) -> tuple[Tensor, Tensor]:
    """Image [1, 1, *shape] and labels [1, *shape]: nested ellipsoids of three intensities under noise."""
    axes = [torch.linspace(-1, 1, side) for side in case.shape()]
    radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0).sqrt()
    labels = (radius < 0.9).long() + (radius < 0.5).long()
    noise = 0.05 * torch.randn(labels.shape, generator=torch.Generator().manual_seed(0))
    image = torch.tensor([0.1, 0.5, 0.9])[labels] + noise
    return image[None, None], labels[None]


def outputs(network: nn.Module, image: Tensor) -> list[Tensor]:
    output = network(image)
    return list(output) if isinstance(output, (list, tuple)) else [output]


def loss(network: nn.Module, image: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over all outputs, the labels brought to each one's size."""
    terms = []
    for logits in outputs(network, image):
        at_this_size = functional.interpolate(labels[:, None].float(), size=logits.shape[2:], mode="nearest")[:, 0]
        terms.append(functional.cross_entropy(logits.float(), at_this_size.long()))
    return torch.stack(terms).mean()


def other_sizes(case: Case) -> list[tuple[int, ...]]:
    """Sizes besides the usual one: a cube of the smallest sides that leave two voxels, and odd sides where allowed."""
    divisor, rest = case.entry.divisor, case.dimensions - 1
    if divisor == 1:
        return [(33,) + (29,) * rest, (47,) + (32,) * rest]
    return [(2 * case.side(),) + (case.side(),) * rest]


def test_forward_gives_logits_at_input_size(network: nn.Module, patch: tuple[Tensor, Tensor]) -> None:
    image, _ = patch
    with torch.no_grad():
        logits = full_resolution(network(image))
    assert logits.shape == (1, CLASSES, *image.shape[2:])
    assert torch.isfinite(logits).all()


def test_evaluation_is_deterministic(network: nn.Module, patch: tuple[Tensor, Tensor]) -> None:
    with torch.no_grad():
        first, second = outputs(network, patch[0]), outputs(network, patch[0])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_samples_of_a_batch_do_not_mix(network: nn.Module, patch: tuple[Tensor, Tensor]) -> None:
    image, _ = patch
    flipped = image.flip(-1)
    with torch.no_grad():
        together = full_resolution(network(torch.cat([image, flipped])))
        alone = full_resolution(network(flipped))
    torch.testing.assert_close(together[1:], alone, rtol=1e-3, atol=1e-4)


def test_other_sizes(case: Case) -> None:
    for shape in other_sizes(case):
        network = case.build(shape).eval()
        with torch.no_grad():
            assert full_resolution(network(torch.rand(1, 1, *shape))).shape == (1, CLASSES, *shape)


def test_every_parameter_learns(case: Case, patch: tuple[Tensor, Tensor]) -> None:
    """A parameter without gradient has to be named in the network's `unused_parameters` (patterns), and only such."""
    network = case.build().train()
    loss(network, *patch).backward()
    unused = {name for name, p in network.named_parameters() if p.requires_grad and p.grad is None}
    patterns = getattr(network, "unused_parameters", ())
    assert {name for name in unused if not any(fnmatch(name, pattern) for pattern in patterns)} == set()
    assert [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in unused)] == []
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_state_dict_round_trip(case: Case, network: nn.Module, patch: tuple[Tensor, Tensor]) -> None:
    other = case.build(seed=1).eval()
    other.load_state_dict(network.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(full_resolution(other(patch[0])), full_resolution(network(patch[0])))


def test_unknown_option_is_an_input_error(case: Case) -> None:
    with pytest.raises(InputError, match=case.name):
        case.build(no_such_option=1)


def test_demo_is_small(network: nn.Module) -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) < 2_000_000


def test_overfits_one_patch(case: Case, patch: tuple[Tensor, Tensor]) -> None:
    network = case.build().train()
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trainable, lr=3e-3)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        value = loss(network, *patch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 10.0)
        optimiser.step()
        losses.append(value.item())
    assert min(losses[-5:]) < losses[0] / 2, losses
