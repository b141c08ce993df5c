"""Parameters of every configuration that the papers' tables use, counted without memory (meta device).

The totals are written down here; the reference facts, where present, add every submodule's count and every key.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
import torch
from helpers.released_facts import assert_counts, read_keys, shapes
from torch import nn

from benchmark.cost.meta import build_on_meta
from benchmark.models import build


class Published(NamedTuple):
    """One configuration of `reference/models/<facts>.json`, and what builds it here."""

    model: str
    label: str
    total: int
    options: dict[str, Any]
    classes: int = 118
    side: int = 128
    facts: str | None = None

    def build(self) -> nn.Module:
        shape = (self.side,) * 3
        return build_on_meta(
            build, self.model, in_channels=1, out_channels=self.classes, spatial_shape=shape, **self.options
        )


SWIN_SMT = {
    (4, False): 73_053_256,
    (8, False): 87_014_728,
    (16, False): 114_937_672,
    (32, False): 170_783_560,
    (4, True): 83_628_616,
    (8, True): 97_590_088,
    (16, True): 125_513_032,
    (32, True): 181_358_920,
}
SWIN_UNETR = {
    (24, True): 18_349_744,
    (24, False): 15_705_904,
    (48, True): 72_767_752,
    (48, False): 62_192_392,
    (96, True): 290_402_104,
    (96, False): 248_100_664,
}
SEVEN = {"features": (32, 64, 128, 256, 320, 320, 320), "strides": ((1,) * 3, *(((2,) * 3,) * 6))}

PUBLISHED = [
    *(
        Published("swin_smt", f"n={n}, use_v2={v2}", total, {"num_experts": n, "use_v2": v2})
        for (n, v2), total in SWIN_SMT.items()
    ),
    *(
        Published("swin_unetr", f"f{f} v2={v2} out118", total, {"feature_size": f, "use_v2": v2}, facts="swinunetr")
        for (f, v2), total in SWIN_UNETR.items()
    ),
    Published("unetr", "img128 fs32 out118", 102_036_406, {"feature_size": 32}),
    Published("unetr", "img128 fs16 out118", 93_031_574, {}),
    Published("unetr", "img96 fs16 out14", 92_802_478, {}, classes=14, side=96),
    Published("unetr", "img96 fs32 out118", 101_809_078, {"feature_size": 32}, side=96),
    Published("dints", "released architecture, 3 classes", 152_361_027, {}, classes=3),
    Published("dints", "released architecture, 118 classes", 152_364_822, {}),
    Published("nnunet", "PlainConvUNet 3d_fullres, 118 classes", 31_288_974, {}),
    Published("nnunet", "ResidualEncoderUNet (ResEncL shape), 118 classes", 102_443_150, {"residual": True}),
    Published("nnunet", "PlainConvUNet 7 stages", 45_974_212, SEVEN),
    Published("nnunet", "ResidualEncoderUNet 7 stages (ResEncXL shape)", 142_020_228, {**SEVEN, "residual": True}),
]
# Rows of the Swin-UMamba tables: (channels, classes, patch) of AbdomenMRI, Endoscopy, Microscopy.
PLANS_2D = [(1, 14, (320, 320)), (3, 8, (384, 640)), (3, 3, (512, 512))]
PUBLISHED_2D = {
    "nnunet": [33_489_940, 33_481_456, 46_327_157],
    "unetr": [87_444_622, 88_268_136, 88_317_203],
    "swin_unetr": [25_138_568, 25_139_618, 25_139_373],
}


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.fixture(scope="module", params=PUBLISHED, ids=lambda p: f"{p.model}: {p.label}")
def published(request: pytest.FixtureRequest) -> Published:
    return request.param


@pytest.fixture(scope="module")
def network(published: Published) -> nn.Module:
    return published.build()


def test_total(published: Published, network: nn.Module) -> None:
    assert count(network) == published.total


def test_submodules_and_keys_equal_the_release(published: Published, network: nn.Module, reference) -> None:
    name = published.facts or published.model
    facts = json.loads(reference(f"models/{name}.json").read_text())["configurations"][published.label]
    assert_counts(network, facts)
    keys = read_keys(reference(f"models/{name}.keys.json.gz"))
    if published.label in keys:
        assert shapes(network) == keys[published.label]


@pytest.mark.parametrize("name", ["swin_smt", "swinunetr", "unetr", "dints", "nnunet"])
def test_no_configuration_of_the_reference_is_left_out(name: str, reference) -> None:
    labels = json.loads(reference(f"models/{name}.json").read_text())["configurations"]
    assert {p.label for p in PUBLISHED if (p.facts or p.model) == name} == set(labels)


@pytest.mark.parametrize("plan", range(3), ids=["AbdomenMRI", "Endoscopy", "Microscopy"])
@pytest.mark.parametrize("model", PUBLISHED_2D)
def test_total_2d(model: str, plan: int) -> None:
    channels, classes, patch = PLANS_2D[plan]
    with torch.device("meta"):
        network = build(model, in_channels=channels, out_channels=classes, spatial_shape=patch)
    assert count(network) == PUBLISHED_2D[model][plan]


@pytest.mark.parametrize("model", PUBLISHED_2D)
def test_keys_2d_equal_the_release(model: str, reference) -> None:
    channels, classes, patch = PLANS_2D[0]
    with torch.device("meta"):
        network = build(model, in_channels=channels, out_channels=classes, spatial_shape=patch)
    name = {"swin_unetr": "swinunetr"}.get(model, model)
    assert shapes(network) == read_keys(reference(f"models/{name}_2d.keys.json.gz"))


def test_the_learned_router_adds_its_slot_matrix() -> None:
    """Φ of n·s = m slots replaces the projection n·d² and one gain d, twice in each of the stages 2, 3 and 4."""
    released = count(Published("swin_smt", "", 0, {"num_experts": 32}).build())
    written = count(Published("swin_smt", "", 0, {"num_experts": 32, "router": "learned"}).build())
    stages = [(96, 32**3), (192, 16**3), (384, 8**3)]
    assert written - released == sum(2 * (tokens * d - 32 * d * d - 2 * d) for d, tokens in stages)
