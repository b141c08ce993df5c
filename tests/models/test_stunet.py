from __future__ import annotations

import json

import pytest
import torch
from helpers.released_facts import assert_counts, assert_parity, read_keys, shapes

from benchmark.errors import InputError
from benchmark.models import build


@pytest.mark.parametrize("size", ["S", "B", "L", "H"])
@pytest.mark.parametrize("classes", [105, 118])
def test_counts_and_keys_equal_the_release(size, classes, reference):
    with torch.device("meta"):
        model = build("stunet", in_channels=1, out_channels=classes, spatial_shape=(128,) * 3, size=size)
    assert_counts(
        model, json.loads(reference("models/stunet.json").read_text())["configurations"][f"{size} {classes} classes"]
    )
    if classes == 105:
        assert shapes(model) == read_keys(reference("models/stunet.keys.json.gz"))[f"{size} 105 classes"]


def small(**options):
    options = {"widths": (4, 8, 8, 12, 12, 12), "depths": (1, 2, 1, 1, 2, 1)} | options
    return build("stunet", in_channels=1, out_channels=2, spatial_shape=(64,) * 3, **options)


@pytest.mark.parity
def test_parity_with_the_released_network(parity):
    fixture = parity("stunet")
    model = small(poolings=fixture["config"]["pool_op_kernel_sizes"])
    model.load_state_dict(fixture["state_dict"])
    assert_parity(model, fixture)


def test_any_shape_and_its_supervision_levels():
    model = small()
    levels = model(torch.zeros(1, 1, 33, 20, 40))
    assert [tuple(level.shape[2:]) for level in levels[:3]] == [(33, 20, 40), (17, 10, 20), (9, 5, 10)]


@pytest.mark.parametrize(
    "options", [{"size": "XL"}, {"initialisation": "zero"}, {"poolings": ((2, 2, 2),) * 3}], ids=str
)
def test_illegal_options_are_named(options):
    with pytest.raises(InputError, match="stunet cannot be built"):
        small(**options)
