from __future__ import annotations

import json

import pytest
import torch
from helpers.released_facts import assert_counts, assert_parity, read_keys, relative_difference, shapes
from torch.nn import functional

from benchmark.errors import InputError
from benchmark.models import build
from benchmark.models.repuxnet import depthwise_fft, frequency_matrix

CONFIGURATIONS = [(network, classes) for network in ("uxnet", "repuxnet") for classes in (5, 14, 118)]


@pytest.mark.parametrize(("network", "classes"), CONFIGURATIONS)
def test_counts_and_keys_equal_the_release(network, classes, reference):
    with torch.device("meta"):
        model = build(network, in_channels=1, out_channels=classes, spatial_shape=(96,) * 3)
    facts = json.loads(reference(f"models/{network}.json").read_text())["configurations"][f"out{classes}"]
    assert_counts(model, facts)
    if classes == 118:
        assert shapes(model) == read_keys(reference(f"models/{network}.keys.json.gz"))["out118"]


def small(network, **options):
    options = {"widths": (48, 8, 12, 16), "depths": (2, 1, 2, 1), "hidden_size": 24} | options
    return build(network, in_channels=1, out_channels=3, spatial_shape=(48,) * 3, **options)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("uxnet", {}),
        ("repuxnet", {"kernel_size": 5, "frequency": "none"}),
        ("repuxnet", {"kernel_size": 5, "frequency": "none", "convolution": "fft"}),
    ],
    ids=["uxnet", "repuxnet", "repuxnet by fft"],
)
def test_parity_with_the_released_network(network, options, parity):
    fixture = parity(network)
    model = small(network, **options)
    model.load_state_dict(fixture["state_dict"])
    assert_parity(model, fixture)


def tiny(**options):
    torch.manual_seed(0)
    options = {"widths": (2, 4, 4, 4), "depths": (1, 1, 1, 1), "hidden_size": 4, "kernel_size": 5} | options
    return small("repuxnet", **options).eval()


def test_frequency_matrix_by_hand():
    matrix = frequency_matrix(3, alpha=2.0)
    assert matrix[1, 1, 1] == 1 and matrix[0, 1, 1] == 2 / 3
    torch.testing.assert_close(matrix[0, 0, 2], torch.tensor(2 / (3**0.5 + 2)))


def test_the_released_scaling_compounds_and_trains_nothing():
    image, released = torch.randn(1, 1, 32, 32, 32), tiny(frequency="as_released")
    plain = tiny(frequency="none")
    matrix = frequency_matrix(5, alpha=1.0)
    for power in (1, 2, 3):
        state = tiny(frequency="none").state_dict()
        plain.load_state_dict(
            {key: value * matrix**power if "dwconv.weight" in key else value for key, value in state.items()}
        )
        assert relative_difference(released(image), plain(image)) < 1e-4
    assert not any(p.requires_grad for name, p in released.named_parameters() if "dwconv.weight" in name)


def test_the_written_scaling_keeps_and_trains_the_kernel():
    image, written = torch.randn(1, 1, 32, 32, 32), tiny(frequency="as_written")
    assert relative_difference(written(image), tiny(frequency="as_released")(image)) < 1e-4
    torch.testing.assert_close(written(image), written(image), rtol=0, atol=0)
    written(image).square().mean().backward()
    kernel = written.repuxnet_3d.stages[0][0].dwconv.weight
    assert kernel.grad.abs().sum() > 0


@pytest.mark.parametrize("shape", [(14, 13, 16), (4, 3, 2)], ids=str)
def test_fft_convolution_equals_direct_convolution(shape):
    torch.manual_seed(0)
    image, kernel, bias = torch.randn(2, 3, *shape), torch.randn(3, 1, 21, 21, 21), torch.randn(3)
    wanted = functional.conv3d(image.double(), kernel.double(), bias.double(), padding=10, groups=3)
    torch.testing.assert_close(depthwise_fft(image, kernel, bias), wanted.float(), rtol=1e-4, atol=1e-4)


def test_the_released_scaling_compounds_once_per_forward_compiled_or_checkpointed():
    """Recomputing activations is no forward of its own."""
    image, matrix, before = torch.randn(1, 1, 32, 32, 32), frequency_matrix(5, alpha=1.0), tiny().state_dict()
    compiled, saving = tiny(frequency="as_released"), tiny(frequency="as_released", checkpointing=True)
    torch.compile(compiled, backend="eager", fullgraph=True)(image)
    saving.train()(image).square().mean().backward()
    for model in (compiled, saving):
        for key in (key for key in before if key.endswith("dwconv.weight")):
            torch.testing.assert_close(model.state_dict()[key], before[key] * matrix)


@pytest.mark.parametrize(
    "options", [{"frequency": "as_told"}, {"kernel_size": 4}, {"convolution": "slow"}, {"widths": (4, 4)}], ids=str
)
def test_illegal_options_are_named(options):
    with pytest.raises(InputError, match="repuxnet cannot be built"):
        small("repuxnet", **options)
