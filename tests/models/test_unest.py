from __future__ import annotations

import json

import pytest
import torch
from helpers.released_facts import assert_counts, assert_parity, read_keys, shapes

from benchmark.errors import InputError
from benchmark.models import build
from benchmark.models.layers.windows import to_windows
from benchmark.models.released import load_released


def test_counts_and_keys_equal_the_release(reference):
    configurations = json.loads(reference("models/unest.json").read_text())["configurations"]
    keys = read_keys(reference("models/unest.keys.json.gz"))
    assert len(configurations) == 5 and len(keys) == 2
    for label, facts in configurations.items():
        kwargs = facts["kwargs"]
        with torch.device("meta"):
            model = build(
                "unest",
                in_channels=1,
                out_channels=kwargs["out_channels"],
                spatial_shape=(kwargs["inner_img_size"],) * 3,
                size=kwargs["variant"],
            )
        assert_counts(model, facts)
        if label in keys:
            assert shapes(model) == keys[label]


def small(spatial_shape=(64,) * 3, **options):
    torch.manual_seed(0)
    options = {"widths": (8, 16, 32), "depths": (2, 2, 3), "heads": (2, 4, 4)} | options
    return build("unest", in_channels=1, out_channels=3, spatial_shape=spatial_shape, **options).eval()


@pytest.mark.parity
def test_parity_with_the_released_network(parity):
    fixture = parity("unest")
    model = small()
    model.load_state_dict(fixture["state_dict"])
    assert_parity(model, fixture)


def test_position_tables_are_resized_over_the_grid(tmp_path):
    model = small()
    with torch.no_grad():
        for level, block in zip(model.nestViT.levels, (4, 2, 1), strict=True):
            ramp = torch.arange(4.0 * block).view(1, 1, -1, 1, 1).expand(1, 1, *(4 * block,) * 3)
            level.pos_embed.copy_(to_windows(ramp.movedim(1, -1), (4, 4, 4)).expand_as(level.pos_embed))
    torch.save({"state_dict": model.state_dict()}, tmp_path / "unest.pt")
    larger = small((64, 64, 96))
    report = load_released(larger, tmp_path / "unest.pt")
    assert [key for key, _, _ in report.reshaped] == [f"nestViT.levels.{i}.pos_embed" for i in range(3)]
    table = larger.nestViT.levels[1].pos_embed  # a ramp along an axis that keeps its length stays what it was
    assert torch.equal(table[0, 0, 0], torch.zeros(16)) and torch.equal(table[0, -1, -1], torch.full((16,), 7.0))


def test_smaller_inputs_fit_and_larger_ones_are_refused():
    model = small((48, 32, 64))
    assert model.shape == (64, 32, 64)
    assert model(torch.zeros(1, 1, 40, 32, 61)).shape == (1, 3, 40, 32, 61)
    with pytest.raises(ValueError, match="larger than"):
        model(torch.zeros(1, 1, 65, 32, 64))


@pytest.mark.parametrize("options", [{"size": "huge"}, {"heads": (3, 3, 3)}], ids=str)
def test_illegal_options_are_named(options):
    with pytest.raises(InputError, match="unest cannot be built"):
        small(**options)
