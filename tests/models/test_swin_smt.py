from __future__ import annotations

import pytest
import torch
from helpers.released_facts import assert_parity
from monai.networks.nets import SwinUNETR
from monai.networks.nets.swin_unetr import PatchMerging
from torch import nn

from benchmark.errors import InputError
from benchmark.models import build
from benchmark.models.layers.swin_pyramid import LegacyPatchMerging

SMALL = {"feature_size": 4, "num_heads": (1, 2, 2, 4), "window_size": 3, "num_experts": 4}


def small(**options) -> nn.Module:
    torch.manual_seed(0)
    return build("swin_smt", in_channels=1, out_channels=3, spatial_shape=(32, 32, 64), **{**SMALL, **options}).eval()


@pytest.mark.parity
@pytest.mark.parametrize("form", ["materialised", "streamed"])
def test_equals_the_release(form: str, parity) -> None:
    released = parity("swin_smt")
    model = small(window_size=7, soft_moe=form)
    report = model.load_state_dict(released["state_dict"], strict=False)
    assert report.unexpected_keys == []
    assert set(report.missing_keys) == set(released["omitted_buffers"])
    for key, omitted in released["omitted_buffers"].items():
        assert tuple(model.get_buffer(key).shape) == tuple(omitted["shape"])
        assert model.get_buffer(key).sum().item() == omitted["sum"]
    assert_parity(model, released)


@pytest.mark.parametrize("use_v2", [False, True])
@pytest.mark.parametrize(("dims", "downsample"), [(3, "legacy"), (3, "corrected"), (2, "legacy")])
def test_without_mixtures_it_is_monai_swin_unetr(dims: int, downsample: str, use_v2: bool) -> None:
    options = {"feature_size": 12, "num_heads": (1, 2, 2, 2), "use_v2": use_v2}
    shape = (32, 32, 64)[-dims:]
    merging = LegacyPatchMerging if downsample == "legacy" else PatchMerging
    monai = SwinUNETR(1, 3, spatial_dims=dims, downsample=merging, **options).eval()
    name, more = ("swin_smt", {"num_layers_with_moe": 0}) if dims == 3 else ("swin_unetr", {})
    ours = build(
        name, in_channels=1, out_channels=3, spatial_shape=shape, downsample=downsample, **options, **more
    ).eval()
    ours.load_state_dict(monai.state_dict(), strict=True)
    x = torch.randn(1, 1, *shape)
    with torch.no_grad():
        assert torch.equal(ours(x), monai(x))


def test_legacy_merging_reads_two_corners_twice_and_two_never() -> None:
    merging = LegacyPatchMerging(dim=1)
    merging.norm = nn.Identity()
    merging.reduction = nn.Identity()
    corners = merging(torch.arange(8.0).view(1, 2, 2, 2, 1)).flatten().tolist()
    assert corners == [0, 4, 2, 1, 5, 2, 1, 7]  # of offset d·4 + h·2 + w; 6 = (1, 1, 0) and 3 = (0, 1, 1) are missing


def test_odd_maps_are_padded_before_merging() -> None:
    x = torch.randn(1, 3, 5, 4, 2)
    assert LegacyPatchMerging(dim=2)(x).shape == (1, 2, 3, 2, 4)


@pytest.mark.parametrize(("layers", "stages"), [(0, []), (1, [4]), (2, [3, 4]), (3, [2, 3, 4]), (4, [1, 2, 3, 4])])
def test_mixtures_sit_in_the_deepest_stages(layers: int, stages: list[int]) -> None:
    model = small(num_layers_with_moe=layers)
    keys = model.state_dict()
    assert [s for s in range(1, 5) if f"swinViT.layers{s}.0.blocks.1.mlp.norm.gamma" in keys] == stages


def test_sides_that_do_not_fit_are_padded_at_the_end() -> None:
    model = small()
    x = torch.randn(1, 1, 32, 27, 60)
    whole = nn.functional.pad(x, (0, 4, 0, 5))
    with torch.no_grad():
        assert torch.equal(model(x), model(whole)[..., :27, :60])


@pytest.mark.parametrize(
    "options",
    [
        {"downsample": "newest"},
        {"router": "hard"},
        {"num_layers_with_moe": 5},
        {"soft_moe": "fast"},
        {"num_heads": (3, 6, 12, 24)},
    ],
)
def test_values_that_make_no_sense_are_input_errors(options) -> None:
    with pytest.raises(InputError, match="swin_smt"):
        small(**options)
