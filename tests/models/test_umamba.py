"""U-Mamba of January 2024: the papers' counts and the released networks."""

from __future__ import annotations

import json

import pytest
import torch
from released_facts import assert_parity, read_keys, shapes

from benchmark.errors import InputError
from benchmark.models.registry import build

INPUTS = {"AbdomenMRI": (1, 14, (320, 320)), "Endoscopy": (3, 8, (384, 640)), "Microscopy": (3, 3, (512, 512))}


@pytest.mark.parity
@pytest.mark.parametrize("dataset", INPUTS)
@pytest.mark.parametrize("variant", ["bot", "enc"])
def test_counts_of_the_tables(reference, variant, dataset):
    facts = json.loads(reference(f"models/umamba_{variant}_2d.json").read_text())
    in_channels, out_channels, shape = INPUTS[dataset]
    with torch.device("meta"):
        model = build(
            "umamba", in_channels=in_channels, out_channels=out_channels, spatial_shape=shape, variant=variant
        )
    assert sum(parameter.numel() for parameter in model.parameters()) == facts["params_measured"][dataset]
    if dataset == "AbdomenMRI":
        assert shapes(model) == read_keys(reference(f"models/umamba_{variant}_2d.keys.json.gz"))


@pytest.mark.parity
@pytest.mark.parametrize(("variant", "tolerance", "gradient_tolerance"), [("bot", 1e-5, 1e-4), ("enc", 1e-3, 2e-3)])
def test_the_released_network(parity, variant, tolerance, gradient_tolerance):
    """The encoder variant's fixture is ill-conditioned: a relative change of 1e-6 of its input changes it by 6e-5.

    Its gradient norm, taken in single precision, is 1.4e-3 above what the network has in double precision.
    """
    fixture = parity(f"umamba_{variant}_v1")
    model = build(
        "umamba",
        in_channels=1,
        out_channels=3,
        spatial_shape=(64, 96),
        variant=variant,
        strides=[(1, 1), (2, 2), (2, 2), (2, 2), (2, 2)],
        features=[8, 12, 16, 24, 24],
    )
    model.load_state_dict(fixture["state_dict"])
    assert_parity(model, fixture, output_tolerance=tolerance, gradient_tolerance=gradient_tolerance)


def test_the_encoder_variant_starts_with_silent_residual_branches():
    options = {"in_channels": 1, "out_channels": 2, "spatial_shape": (64, 64), "base_features": 4, "max_features": 8}
    enc, bot = (build("umamba", variant=variant, **options) for variant in ("enc", "bot"))
    assert not enc.encoder.stages[1].blocks[0].conv2.norm.weight.any()
    assert bot.encoder.stages[1].blocks[0].conv2.norm.weight.all()


def test_illegal_options_are_input_errors():
    with pytest.raises(InputError, match="umamba"):
        build("umamba", in_channels=1, out_channels=2, spatial_shape=(64, 64), variant="head")
    with pytest.raises(InputError, match="2-D"):
        build("umamba", in_channels=1, out_channels=2, spatial_shape=(64, 64, 64))
