from __future__ import annotations

import json

import pytest
import torch
from helpers.released_facts import assert_counts, assert_parity, read_keys, shapes

from benchmark.errors import InputError
from benchmark.models import build
from benchmark.models.layers.windows import shift_mask
from benchmark.models.released import load_released

CONFIGURATIONS = {
    "fine": {"out_channels": 14},
    "coarse": {"out_channels": 2, "window": (4, 4, 4)},
    "fine, mlp_ratio 4, qkv bias": {"out_channels": 14, "mlp_ratio": 4.0, "qkv_bias": True},
}


@pytest.mark.parametrize("label", CONFIGURATIONS)
def test_counts_and_keys_equal_the_release(label, reference):
    with torch.device("meta"):
        model = build("phtrans", in_channels=1, spatial_shape=(96, 192, 192), **CONFIGURATIONS[label])
    assert_counts(model, json.loads(reference("models/liu.json").read_text())["configurations"][label])
    keys = read_keys(reference("models/liu.keys.json.gz"))
    if label in keys:
        assert shapes(model) == {key: shape for key, shape in keys[label].items() if not key.endswith("attn_mask")}


def small(**options):
    torch.manual_seed(0)
    options = {"width": 8, "width_limit": 28} | options
    return build("phtrans", in_channels=1, out_channels=3, spatial_shape=(48, 64, 64), **options).eval()


@pytest.mark.parity
def test_parity_with_the_released_network_and_its_masks(parity, tmp_path):
    fixture = parity("liu_phtrans")
    model = small()
    torch.save({"state_dict": fixture["state_dict"]}, tmp_path / "phtrans.pth")
    report = load_released(model, tmp_path / "phtrans.pth", allow_partial=list(fixture["omitted_buffers"]))
    masks = {key for key in fixture["state_dict"] if key.endswith("attn_mask")}
    assert set(report.recomputed) == masks and set(report.missing) == set(fixture["omitted_buffers"])
    for key, facts in fixture["omitted_buffers"].items():
        assert list(model.state_dict()[key].shape) == facts["shape"] and model.state_dict()[key].sum() == facts["sum"]
    for key, level in (("down_layers.2", 4), ("up_layers.0", 8), ("down_layers.4", 16)):
        found = shift_mask((48 // level, 64 // level, 64 // level), (3, 4, 4), (1, 2, 2), torch.zeros(1))
        assert torch.equal(found, fixture["state_dict"][f"{key}.swin_blocks.1.attn_mask"])
    assert_parity(model, fixture)


def test_any_size_and_its_supervision_levels():
    levels = small()(torch.zeros(1, 1, 50, 64, 31))
    assert [tuple(level.shape[2:]) for level in levels] == [(50, 64, 31), (25, 32, 16), (13, 16, 8), (7, 8, 4)]


@pytest.mark.parametrize("options", [{"depths": (2, 2)}, {"heads": 3}], ids=str)
def test_illegal_options_are_named(options):
    with pytest.raises(InputError, match="phtrans cannot be built"):
        small(**options)
