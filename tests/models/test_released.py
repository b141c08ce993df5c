from __future__ import annotations

import re
from argparse import Namespace
from fnmatch import fnmatch

import numpy as np
import pytest
import torch
from helpers.released_facts import read_keys
from torch import nn

from benchmark.errors import InputError
from benchmark.models import available_models, build, model_entry
from benchmark.models.released import WeightSource, load_released, weight_sources


class Tiny(nn.Module):
    """A body, a head, and a buffer that is computed and not saved."""

    def __init__(self, classes: int = 2):
        super().__init__()
        self.body = nn.Linear(3, 4)
        self.head = nn.Linear(4, classes)
        self.register_buffer("index", torch.arange(5), persistent=False)


class Renamed(Tiny):
    """A network whose release calls the body `trunk` and keeps more rows in it."""

    def adapt_released(self, state):
        renamed = {key.replace("trunk", "body"): tensor for key, tensor in state.items()}
        return {key: tensor[:4] if key.startswith("body") else tensor for key, tensor in renamed.items()}


def published(**extra):
    torch.manual_seed(7)
    return Tiny().state_dict() | extra


def nnunet_1(state):
    scalars = [[np.float64(0.5)], [np.float32(0.25)]]
    return {"epoch": 3, "state_dict": state, "optimizer_state_dict": {"state": {}}, "plot_stuff": scalars}


NESTED = {
    "plain": lambda state: state,
    "data parallel": lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
    "nnU-Net 1 with numpy losses": nnunet_1,
    "nnU-Net 2": lambda state: {"network_weights": state, "optimizer_state": {"state": {0: torch.ones(3)}}},
    "Universal Model": lambda state: {"net": state, "epoch": 1, "scheduler": {"_step": 3}},
    "compiled in Lightning": lambda state: {"state_dict": {f"model._orig_mod.{k}": v for k, v in state.items()}},
    "MAE with its arguments": lambda state: {"model": state, "args": Namespace(blr=1e-3)},
    "model inside checkpoint": lambda state: {"model": {"state_dict": state}, "ema": 0.9},
}


@pytest.mark.parametrize("form", NESTED)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_every_published_form_is_read(form, zipped, tmp_path):
    path = tmp_path / "weights.model"
    torch.save(NESTED[form](published()), path, _use_new_zipfile_serialization=zipped)
    model = Tiny()
    report = load_released(model, path)
    assert set(report.loaded) == set(published()) and not report.missing and not report.unexpected
    assert all(torch.equal(model.state_dict()[key], value) for key, value in published().items())


def test_npz_and_safetensors_are_read(tmp_path):
    from safetensors.torch import save_file

    np.savez(tmp_path / "weights.npz", **{key: value.numpy() for key, value in published().items()})
    save_file(published(), tmp_path / "weights.safetensors")
    for name in ("weights.npz", "weights.safetensors"):
        assert len(load_released(Tiny(), tmp_path / name).loaded) == 4


def saved(tmp_path, state):
    torch.save(state, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("body.bias"), "1 missing: body.bias"),
        (lambda state: state.update(extra=torch.ones(1)), "1 unexpected: extra"),
        (lambda state: state.update({"head.weight": torch.ones(7, 4)}), r"head.weight \(7, 4\) in the file, \(2, 4\)"),
        (lambda state: state.update(index=torch.arange(5).flip(0)), "1 unexpected: index"),
    ],
    ids=["missing", "unexpected", "shape", "other computed buffer"],
)
def test_a_partial_load_is_refused_and_leaves_the_network_alone(change, message, tmp_path):
    state, model = published(), Tiny()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    change(state)
    with pytest.raises(InputError, match=message):
        load_released(model, saved(tmp_path, state))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_allow_partial_names_what_may_differ(tmp_path):
    path = saved(tmp_path, published())
    model = Tiny(classes=5)
    report = load_released(model, path, allow_partial=["head.*"])
    assert report.loaded == ("body.bias", "body.weight")
    assert [key for key, _, _ in report.mismatched] == ["head.bias", "head.weight"]
    assert "2 loaded" in str(report) and "2 mismatched" in str(report)
    with pytest.raises(InputError, match=r"head\.weight"):
        load_released(Tiny(classes=5), path, allow_partial=["head.bias"])


def test_a_network_that_holds_the_published_one_takes_its_file(tmp_path):
    model, state = nn.Sequential(), published()
    model.add_module("whole", Tiny())
    report = load_released(model, saved(tmp_path, state))
    assert set(report.loaded) == {f"whole.{key}" for key in state}
    assert torch.equal(model.whole.body.weight, state["body.weight"])


def test_nothing_in_common_is_refused_even_if_everything_may_differ(tmp_path):
    with pytest.raises(InputError, match="does not fit"):
        load_released(Tiny(), saved(tmp_path, {"other": torch.ones(2)}), allow_partial=["*"])


def test_renamed_and_reshaped_keys_and_equal_buffers_are_reported(tmp_path):
    state = {
        "trunk.weight": torch.randn(6, 3),
        "body.bias": torch.randn(6),
        "head.weight": torch.randn(2, 4),
        "head.bias": torch.randn(2),
        "index": torch.arange(5),
    }
    model = Renamed()
    report = load_released(model, saved(tmp_path, state))
    assert report.reshaped == (("body.bias", (6,), (4,)),) and report.recomputed == ("index",)
    assert torch.equal(model.body.weight, state["trunk.weight"][:4])


class Payload:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_pickle_with_code_is_not_executed(tmp_path, capsys):
    with pytest.raises(InputError, match=r"more than weights(.|\n)*print"):
        load_released(Tiny(), saved(tmp_path, {"state_dict": published(), "args": Payload()}))
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><title>Google Drive</title>", b"PK\x03\x04 cut short"])
def test_files_that_are_no_checkpoints(content, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"weights\.pth"):
        load_released(Tiny(), path)
    with pytest.raises(InputError, match="no tensors"):
        load_released(Tiny(), saved(tmp_path, {"epoch": 3}))


def test_a_missing_file_says_where_it_comes_from(tmp_path):
    model = build("stunet", in_channels=1, out_channels=2, spatial_shape=(32,) * 3, widths=(2,) * 6)
    with pytest.raises(InputError, match="stunet_b_totalseg"):
        load_released(model, tmp_path / "absent.model")


def test_sources_are_complete():
    for source in weight_sources().values():
        assert source.url.startswith("https://") and source.licence and source.content, source.name


RELEASES = {  # network: reference file, configuration label, options of `build`
    "stunet": ("stunet", "L 105 classes", {"size": "L", "out_channels": 105}),
    "mednext": ("mednext", "S k3 118 classes DS=True", {"size": "S", "deep_supervision": True, "out_channels": 118}),
    "uxnet": ("uxnet", "out118", {"out_channels": 118}),
    "repuxnet": ("repuxnet", "out118", {"out_channels": 118}),
    "nnformer": (
        "nnformer",
        "synapse class, crop 128, 118 classes, DS",
        {"spatial_shape": (128,) * 3, "deep_supervision": True, "out_channels": 118},
    ),
    "unest": ("unest", "base 96 out118", {"out_channels": 118}),
    "phtrans": ("liu", "fine", {"out_channels": 14}),
    "med3d": ("med3d", "resnet152 shortcut B, 14 classes", {"out_channels": 14}),
    "universal_model": (
        "universal_model",
        "swinunetr word_embedding out118",
        {"encoding": "word_embedding", "text_features": "from_checkpoint", "out_channels": 118},
    ),
    "dodnet": ("dodnet", "DynConv 8-8-2, weight_std", {"out_channels": 2}),
}


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter.*")
@pytest.mark.parametrize("network", RELEASES)
def test_a_file_with_the_released_keys_loads_whole(network, reference, tmp_path):
    """The file has exactly the keys and shapes that the authors' class saves; every value is one shared zero."""
    file, label, options = RELEASES[network]
    keys = read_keys(reference(f"models/{file}.keys.json.gz"))[label]
    with torch.device("meta"):
        model = build(network, **({"in_channels": 1, "spatial_shape": (96,) * 3} | options))
    state = {f"module.{key}": torch.zeros(()).expand(shape) for key, shape in keys.items()}
    report = load_released(model, saved(tmp_path, {"state_dict": state, "optimizer": {}}))
    assert set(report.loaded) | set(report.recomputed) == set(keys)
    assert not report.reshaped and all(key.endswith("attn_mask") for key in report.recomputed)


def as_published(source: WeightSource, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`state` with the names of the file, where they are not the network's (MONAI's `load_from`; its issue 170)."""
    if source.name == "swinunetr_ssl_encoder":
        encoder = {key.removeprefix("swinViT."): value for key, value in state.items() if key.startswith("swinViT.")}
        return {key.replace(".mlp.linear", ".mlp.fc"): value for key, value in encoder.items()}
    if source.name == "unetr_btcv":
        unread = {
            "vit.patch_embedding.cls_token": (1, 1, 768),
            "encoder2.blocks.0.1.conv3.conv.weight": (32, 32, 1, 1, 1),
        }
        kept = {key: value for key, value in state.items() if "norm_cross_attn" not in key}
        return kept | {key: torch.zeros(()).expand(shape) for key, shape in unread.items()}
    return state


OWN_SOURCES = [source for source in weight_sources().values() if source.network in available_models()]
IMAGENET = [source for source in OWN_SOURCES if "ImageNet" in source.content]  # test_swin_umamba, _swin_unet, …
UPDATES = [source for source in OWN_SOURCES if source.network in ("samed", "h_sam")]  # test_sam_weights
ANYWHERE = [source for source in OWN_SOURCES if source not in IMAGENET + UPDATES]


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter.*")
@pytest.mark.parametrize("source", ANYWHERE, ids=lambda source: source.name)
def test_a_source_loads_with_its_options_and_lacks_what_it_says(source, tmp_path):
    """A file of another class count than the network's: what `partial` names is left out, the rest is loaded."""
    options = {"text_features": "from_checkpoint"} if source.network == "universal_model" else {}
    shape = (96,) * 3 if 3 in model_entry(source.network).spatial_dims else (64, 64)

    def make(classes: int) -> nn.Module:
        with torch.device("meta"):
            return build(
                source.network, in_channels=1, out_channels=classes, spatial_shape=shape, **source.options | options
            )

    model, classes = make(3), 5 if source.partial else 3
    zeros = {key: torch.zeros(()).expand(value.shape) for key, value in make(classes).state_dict().items()}
    path = saved(
        tmp_path, {"state_dict": {f"module.{key}": value for key, value in as_published(source, zeros).items()}}
    )
    report = load_released(model, path, allow_partial=source.partial)
    left = set(model.state_dict()) - set(report.loaded)
    assert all(any(fnmatch(key, pattern) for pattern in source.partial) for key in left)
    for pattern in source.partial:
        excused = (*report.missing, *report.unexpected, *(key for key, _, _ in report.mismatched))
        assert any(fnmatch(key, pattern) for key in excused), f"{pattern} excuses nothing"
    if source.partial:
        with pytest.raises(InputError, match="does not fit"):
            load_released(model, path)
    with pytest.raises(InputError, match=re.escape(source.url)):
        load_released(model, tmp_path / "absent.pth")


def test_the_self_supervised_encoder_is_put_where_it_belongs(tmp_path):
    options = {"feature_size": 6, "num_heads": (1, 2, 2, 4), "window_size": 2}
    torch.manual_seed(0)
    donor, model = (
        build("swin_unetr", in_channels=1, out_channels=2, spatial_shape=(32,) * 3, **options) for _ in range(2)
    )
    source = weight_sources()["swinunetr_ssl_encoder"]
    path = saved(tmp_path, {"state_dict": as_published(source, donor.state_dict())})
    report = load_released(model, path, allow_partial=source.partial)
    assert not report.unexpected and not any(key.startswith("swinViT.") for key in report.missing)
    image = torch.randn(1, 1, 32, 32, 32)
    assert all(torch.equal(a, b) for a, b in zip(model.swinViT(image), donor.swinViT(image), strict=True))
