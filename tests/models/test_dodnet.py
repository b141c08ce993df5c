from __future__ import annotations

import json

import pytest
import torch
from helpers.released_facts import assert_checksums, assert_counts, assert_parity, fill_by_recipe, read_keys, shapes

from benchmark.errors import InputError
from benchmark.models import build


def test_counts_and_keys_equal_the_release(reference):
    label = "DynConv 8-8-2, weight_std"
    with torch.device("meta"):
        model = build("dodnet", in_channels=1, out_channels=2, spatial_shape=(64, 192, 192))
    assert_counts(model, json.loads(reference("models/dodnet.json").read_text())["configurations"][label])
    assert shapes(model) == read_keys(reference("models/dodnet.keys.json.gz"))[label]


@pytest.mark.parity
def test_parity_with_the_released_network_through_its_recipe(parity):
    fixture = parity("dodnet")
    model = build("dodnet", in_channels=1, out_channels=2, spatial_shape=(32,) * 3)
    model.load_state_dict(fill_by_recipe(model.state_dict(), fixture["weights_gain"]))
    assert_checksums(model.state_dict(), fixture["state_dict_checksums"])
    assert_parity(model, fixture)


def small(**options):
    torch.manual_seed(0)
    return build("dodnet", in_channels=1, out_channels=3, spatial_shape=(32,) * 3, **({"width": 8} | options)).eval()


def test_the_task_steers_the_head_and_has_a_default():
    model, image = small(task=2), torch.randn(2, 1, 32, 32, 32)
    by_default, chosen = model(image), model(image, torch.tensor([2, 5]))
    torch.testing.assert_close(by_default[:1], chosen[:1])
    assert (by_default[1:] - chosen[1:]).abs().max() > 1e-4


def test_weights_are_standardised():
    weight = torch.randn(4, 3, 3, 3, 3, dtype=torch.double) * 5 + 2
    convolution = small().double().layer0[0].conv1
    scaled = type(convolution)(3, 4, 3, padding=1, bias=False).double()
    scaled.weight.data = weight
    flat = weight.flatten(1)
    wanted = ((flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True)).view_as(weight)
    image = torch.randn(1, 3, 5, 5, 5, dtype=torch.double)
    torch.testing.assert_close(scaled(image), torch.nn.functional.conv3d(image, wanted, padding=1))


@pytest.mark.parametrize("options", [{"task": 7}, {"width": 20}], ids=str)
def test_illegal_options_are_named(options):
    with pytest.raises(InputError, match="dodnet cannot be built"):
        small(**options)


def test_every_organ_has_its_task():
    model, image = small(organs=True), torch.randn(2, 1, 32, 32, 32)
    alone = build("dodnet", in_channels=1, out_channels=1, spatial_shape=(32,) * 3, width=8, tasks=2).eval()
    alone.load_state_dict(model.state_dict())
    found = model(image)
    assert found.shape == (2, 3, 32, 32, 32) and not found[:, 0].any()
    for task in range(2):
        expected = alone(image, torch.full((2,), task))
        torch.testing.assert_close(found[:, task + 1 : task + 2], expected, atol=1e-5, rtol=1e-4)
    longer = build("dodnet", in_channels=1, out_channels=5, spatial_shape=(32,) * 3, width=8, organs=True)
    sizes = [sum(parameter.numel() for parameter in network.parameters()) for network in (model, longer)]
    assert sizes[1] - sizes[0] == model.parameters_added(classes=3)  # two more organs
