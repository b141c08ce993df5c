"""A checkpoint as the authors' code writes it loads whole, without leave to skip anything."""

from __future__ import annotations

import pytest
import torch
from helpers.released_facts import relative_difference

from benchmark.models.registry import build, full_resolution
from benchmark.models.released import load_released

TWICE = [(1, 1)] + [(2, 2)] * 4
CHECKPOINTS = {
    "swin_umamba": ("swin_umamba", 2, 3, {"width": 4, "depths": (1, 1, 2, 1)}),
    "swin_umamba_d": ("swin_umamba_d", 1, 3, {"width": 8, "depths": (1, 1, 2, 1)}),
    "umamba_bot_v1": ("umamba", 1, 3, {"strides": TWICE, "features": [8, 12, 16, 24, 24]}),
    "umamba_enc_v1": ("umamba", 1, 3, {"strides": TWICE, "features": [8, 12, 16, 24, 24], "variant": "enc"}),
    "swin_unet": ("swin_unet", 3, 4, {"width": 12, "heads": (1, 2, 4, 4), "window": 4}),
    "m4oe": ("m4oe", 3, 4, {"width": 8, "attention_heads": (1, 2, 2, 4), "window": 4, "heads": (4, 2, 3)}),
}
WRAPPED = [("swin_unet", "swin_unet."), ("m4oe", "swin_unet.")]  # by the classes that their trainers save


@pytest.mark.parity
@pytest.mark.parametrize(("name", "prefix"), [*((name, "") for name in CHECKPOINTS), *WRAPPED])
def test_a_released_checkpoint(parity, tmp_path, name, prefix):
    network, in_channels, out_channels, options = CHECKPOINTS[name]
    fixture = parity(name)
    path = tmp_path / "best_model.pth"
    torch.save({prefix + key: value for key, value in fixture["state_dict"].items()}, path)
    shape = fixture["input"].shape[2:]
    model = build(network, in_channels=in_channels, out_channels=out_channels, spatial_shape=shape, **options).eval()
    report = load_released(model, path)
    assert set(report.loaded) == set(model.state_dict())
    if name != "m4oe":
        expected = full_resolution(fixture["output"])
        assert relative_difference(full_resolution(model(fixture["input"])), expected) < 1e-3
