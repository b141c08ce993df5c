"""Swin-UMamba and Swin-UMamba†: the papers' counts, the released networks, and what of VMamba is taken."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.released_facts import assert_parity, read_keys, shapes

from benchmark.errors import InputError
from benchmark.models.registry import build
from benchmark.models.released import load_released, weight_sources

INPUTS = {"AbdomenMRI": (1, 14, (320, 320)), "Endoscopy": (3, 8, (384, 640)), "Microscopy": (3, 3, (512, 512))}
NETWORKS = ("swin_umamba", "swin_umamba_d")
SOURCES = {"swin_umamba": "vmamba_tiny_imagenet", "swin_umamba_d": "vmamba_tiny_imagenet_dagger"}


def build_for(name: str, dataset: str, **options) -> torch.nn.Module:
    in_channels, out_channels, shape = INPUTS[dataset]
    with torch.device("meta"):
        return build(name, in_channels=in_channels, out_channels=out_channels, spatial_shape=shape, **options)


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parity
@pytest.mark.parametrize("dataset", INPUTS)
@pytest.mark.parametrize("name", NETWORKS)
def test_counts_of_the_tables(reference, name, dataset):
    facts = json.loads(reference(f"models/{name}.json").read_text())
    model = build_for(name, dataset)
    assert count(model) == facts["params_measured"][dataset]
    if dataset == "AbdomenMRI":
        assert shapes(model) == read_keys(reference(f"models/{name}.keys.json.gz"))


@pytest.mark.parametrize(
    ("dataset", "options", "expected"),
    [
        ("AbdomenMRI", {"decoder_depths": (9, 2, 2)}, 35_868_152),
        ("AbdomenMRI", {"depths": (2, 2, 2, 2)}, 19_127_288),
        ("AbdomenMRI", {"deep_supervision": False}, 27_497_720),
        ("Endoscopy", {"mixer": "mamba"}, 23_086_304),
        ("Endoscopy", {"mixer": "vim"}, 24_593_120),
    ],
)
def test_counts_of_the_ablations(dataset, options, expected):
    assert count(build_for("swin_umamba_d", dataset, **options)) == expected


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "channels", "options", "state"),
    [("swin_umamba", 2, {"width": 4}, None), ("swin_umamba_d", 1, {"width": 8}, 16)],
)
def test_the_released_network(parity, name, channels, options, state):
    fixture = parity(name)
    shape = fixture["input"].shape[2:]
    model = build(name, in_channels=channels, out_channels=3, spatial_shape=shape, depths=(1, 1, 2, 1), **options)
    model.load_state_dict(fixture["state_dict"])
    assert_parity(model, fixture)


@pytest.mark.parametrize("name", NETWORKS)
def test_deep_supervision_has_one_level_more_than_what_is_returned_without(name):
    options = {"in_channels": 1, "out_channels": 3, "spatial_shape": (40, 72), "width": 4, "depths": (1, 1, 1, 1)}
    model = build(name, **options).eval()
    image = torch.rand(1, 1, 40, 72)
    levels = model(image)
    scales = (1, 2, 4, 8) if name == "swin_umamba" else (1, 4, 8, 16)
    assert [level.shape[2:] for level in levels] == [(-(-40 // s), -(-72 // s)) for s in scales]
    alone = build(name, deep_supervision=False, **options).eval()
    alone.load_state_dict(model.state_dict())
    assert torch.equal(alone(image), levels[0])


@pytest.fixture(scope="module")
def vmamba(reference, tmp_path_factory):
    """A file with the keys and shapes of VMamba-Tiny's first checkpoint, nested as published; values are random."""
    keys = read_keys(reference("models/vmamba_tiny_v0.keys.json.gz"))
    path = tmp_path_factory.mktemp("weights") / "vssmtiny_dp01_ckpt_epoch_292.pth"
    torch.save({"model": {key: torch.randn(shape) for key, shape in keys.items()}, "config": "text"}, path)
    yield path
    path.unlink()  # 92 MB


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "dataset", "options", "loaded"),
    [
        ("swin_umamba", "AbdomenMRI", {}, 205),
        ("swin_umamba", "AbdomenMRI", {"patch_embed": "as_written"}, 204),
        ("swin_umamba_d", "AbdomenMRI", {}, 204),
        ("swin_umamba_d", "Endoscopy", {}, 208),
        ("swin_umamba_d", "Endoscopy", {"patch_embed": "as_written"}, 204),
        ("swin_umamba_d", "Endoscopy", {"pretrained_decoder": True}, 208 + 6 * 13),
    ],
)
def test_vmamba_weights(vmamba, name, dataset, options, loaded):
    in_channels, out_channels, shape = INPUTS[dataset]
    model = build(name, in_channels=in_channels, out_channels=out_channels, spatial_shape=shape, **options)
    report = load_released(model, vmamba, allow_partial=weight_sources()[SOURCES[name]].partial)
    assert (len(report.loaded), report.unexpected, report.mismatched) == (loaded, (), ())
    published = torch.load(vmamba, weights_only=True)["model"]
    found = model.vssm_encoder.layers[2].blocks[8].self_attention.A_logs
    assert torch.equal(found, published["layers.2.blocks.8.self_attention.A_logs"])
    if options.get("pretrained_decoder"):
        first = model.decoder.stages[2].blocks[1].ln_1.weight
        assert torch.equal(first, published["layers.0.blocks.1.ln_1.weight"])


def test_a_missing_file_says_where_it_comes_from(tmp_path):
    model = build_for("swin_umamba_d", "AbdomenMRI")
    with pytest.raises(InputError, match="VMamba"):
        load_released(model, tmp_path / "vssmtiny_dp01_ckpt_epoch_292.pth")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("swin_umamba", {"patch_embed": "all"}),
        ("swin_umamba", {"depths": (1, 1)}),
        ("swin_umamba_d", {"mixer": "attention"}),
        ("swin_umamba_d", {"decoder_depths": (2, 2)}),
    ],
)
def test_illegal_options_are_input_errors(name, options):
    with pytest.raises(InputError, match=name):
        build_for(name, "AbdomenMRI", **options)
