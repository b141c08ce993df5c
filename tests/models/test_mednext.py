from __future__ import annotations

import json
import re

import pytest
import torch
from helpers.released_facts import assert_counts, assert_parity, read_keys, shapes
from monai.networks.nets import MedNeXt as MonaiMedNeXt

from benchmark.errors import InputError
from benchmark.models import build


def meta(size, kernel_size, classes, deep_supervision):
    options = {"size": size, "kernel_size": kernel_size, "deep_supervision": deep_supervision}
    with torch.device("meta"):
        return build("mednext", in_channels=1, out_channels=classes, spatial_shape=(128,) * 3, **options)


def test_counts_equal_the_release_in_every_configuration(reference):
    configurations = json.loads(reference("models/mednext.json").read_text())["configurations"]
    assert len(configurations) >= 16
    for facts in configurations.values():
        kwargs = facts["kwargs"]
        model = meta(kwargs["model_id"], kwargs["kernel_size"], kwargs["num_classes"], kwargs["deep_supervision"])
        assert_counts(model, facts)


@pytest.mark.parametrize("size", "SBML")
def test_the_printed_counts_are_those_of_three_classes(size, reference):
    """The README's millions, to one decimal: "S k3, 3 classes" and the like."""
    matches = json.loads(reference("models/mednext.json").read_text())["matches"]
    for match in matches:
        if match["config"].startswith(f"{size} k"):
            model = meta(size, int(match["config"][3]), 3, False)
            assert sum(parameter.numel() for parameter in model.parameters()) == match["measured"]


def test_keys_equal_the_release(reference):
    configurations = json.loads(reference("models/mednext.json").read_text())["configurations"]
    for label, keys in read_keys(reference("models/mednext.keys.json.gz")).items():
        kwargs = configurations[label]["kwargs"]
        model = meta(kwargs["model_id"], kwargs["kernel_size"], kwargs["num_classes"], kwargs["deep_supervision"])
        assert shapes(model) == keys


@pytest.mark.parity
def test_parity_with_the_released_network(parity):
    fixture = parity("mednext")
    options = {"size": "B", "width": 4, "deep_supervision": True}
    model = build("mednext", in_channels=1, out_channels=3, spatial_shape=(32,) * 3, **options)
    model.load_state_dict(fixture["state_dict"])
    assert_parity(model, fixture)


def monai_key(key: str) -> str:
    """The key of MONAI's MedNeXt for one of the release; its decoder is numbered from the coarsest level."""
    parts = re.match(r"(enc_block|down|up|dec_block|out)_(\d)\.(.*)", key)
    if parts is None or key.startswith("out_0."):
        return key
    kind, level, rest = parts[1], int(parts[2]), parts[3]
    place = {
        "enc_block": f"enc_stages.{level}",
        "down": f"down_blocks.{level}",
        "up": f"up_blocks.{3 - level}",
        "dec_block": f"dec_stages.{3 - level}",
        "out": f"out_blocks.{4 - level}",
    }[kind]
    return f"{place}.{rest}"


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_size_s_is_monais(kernel_size, dimensions):
    """With both kernels; of the other sizes MONAI takes the wrong expansion ratios."""
    torch.manual_seed(0)
    options = {"size": "S", "width": 4, "kernel_size": kernel_size, "deep_supervision": True}
    ours = build("mednext", in_channels=1, out_channels=3, spatial_shape=(32,) * dimensions, **options)
    shape = {"spatial_dims": dimensions, "init_filters": 4, "out_channels": 3}
    monai = MonaiMedNeXt(**shape, kernel_size=kernel_size, deep_supervision=True, use_residual_connection=True)
    state = {monai_key(key): value for key, value in ours.state_dict().items() if key != "dummy_tensor"}
    monai.load_state_dict(state, strict=True)
    image = torch.randn(1, 1, *(32,) * dimensions)
    for found, expected in zip(ours.train()(image), monai.train()(image), strict=True):
        torch.testing.assert_close(found, expected)


def test_upkern_resizes_kernels_and_copies_the_rest():
    def demo(kernel_size):
        options = {"size": "S", "width": 2, "kernel_size": kernel_size}
        return build("mednext", in_channels=1, out_channels=2, spatial_shape=(32,) * 3, **options)

    small, large = demo(3), demo(5)
    adapted = large.adapt_released(small.state_dict())
    large.load_state_dict(adapted)
    kernel = adapted["enc_block_0.0.conv1.weight"]
    assert kernel.shape[2:] == (5, 5, 5)
    torch.testing.assert_close(kernel[:, :, 2, 2, 2], small.state_dict()["enc_block_0.0.conv1.weight"][:, :, 1, 1, 1])
    assert torch.equal(adapted["enc_block_0.0.conv2.weight"], small.state_dict()["enc_block_0.0.conv2.weight"])


@pytest.mark.parametrize("options", [{"size": "XL"}, {"kernel_size": 4}], ids=str)
def test_illegal_options_are_named(options):
    with pytest.raises(InputError, match="mednext cannot be built"):
        build("mednext", in_channels=1, out_channels=2, spatial_shape=(32,) * 3, **options)
