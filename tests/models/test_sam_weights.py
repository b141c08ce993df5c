"""Published weights in the networks of the SAM family: the fate of every key, resized positions, what is refused."""

from __future__ import annotations

from fnmatch import fnmatch

import pytest
import torch
from helpers.sam_facts import full
from torch import nn

from benchmark.errors import InputError
from benchmark.models.layers.sam.lora import LowRankQueryValue
from benchmark.models.layers.sam.sizes import DEMO_SIZE
from benchmark.models.registry import allowed_options, build, model_entry
from benchmark.models.released import LoadReport, load_released, weight_sources

TINY = {"width": 8, "depth": 12, "heads": 2, "global_blocks": [2, 5, 8, 11]}  # decoder and window of full size


def tiny(name: str, side: int, classes: int, **options) -> nn.Module:
    return build(name, in_channels=1, out_channels=classes, spatial_shape=(side, side), size=TINY, **options)


@pytest.fixture(scope="module")
def fates(parity_around):
    return parity_around("weights_sam")


@pytest.fixture(scope="module")
def sam_file(fates, tmp_path_factory):
    """SAM's keys and shapes at width 8: the fixture's positions, seeded numbers elsewhere."""
    generator = torch.Generator().manual_seed(0)
    state = {key: torch.randn(shape, generator=generator) for key, shape in fates["source_shapes"].items()}
    path = tmp_path_factory.mktemp("weights") / "sam.pth"
    torch.save(state | fates["before"], path)
    return path


CASES = {  # of the fixture: network, side, classes, options
    "samed_224_8": ("samed", 224, 9, {}),
    "samed_256_7": ("samed", 256, 8, {}),
    "samed_256_3": ("samed", 256, 4, {}),
    "samed_512_8": ("samed", 512, 9, {}),
    "sam_med2d_True_256": ("sam_med2d", 256, 2, {}),
    "sam_med2d_False_256": ("sam", 256, 2, {}),
    "sam_med2d_True_1024": ("sam_med2d", 1024, 2, {}),
    "msa_1_256": ("msa", 256, 2, {}),
    "msa_8_256": ("msa", 256, 9, {"mask_choice": "all"}),
    "msa_1_1024": ("msa", 1024, 2, {}),
    "medsam": ("medsam", 1024, 2, {}),
    "h_sam_224_8": ("h_sam", 224, 9, {}),
    "h_sam_512_8": ("h_sam", 512, 9, {}),
    "e_sam_224_8": ("moe_sam", 224, 9, {"unused_layers": True}),
    "e_sam_256_7": ("moe_sam", 256, 8, {"unused_layers": True}),
    "samus": ("samus", 256, 2, {}),
    "desam": ("desam", 1024, 2, {}),
}


@pytest.mark.parity
@pytest.mark.parametrize("case", CASES)
def test_the_fate_of_every_key_of_sam(case, fates, sam_file):
    name, side, classes, options = CASES[case]
    model, expected = tiny(name, side, classes, **options), fates["networks"][case]
    report = load_released(model, sam_file, allow_partial=weight_sources()["sam_vit_b"].partial_for(name))
    updates = [key for key in report.missing if ".linear_" in key]  # put in after loading, in the release
    again = [key for key in report.loaded if ".prompt_encoder2." in key]  # H-SAM's second name, new to the fixture
    found = {
        "copied": len(report.loaded) - len(report.reshaped) - len(again),
        "other shape": len(report.reshaped) + len(report.mismatched),
        "new": len(report.missing) - len(updates) + len(again),
    }
    assert {fate: count for fate, count in found.items() if count} == expected["counts"]
    assert len(updates) == (48 if name in ("samed", "h_sam") else 0)
    assert len(report.unexpected) == (32 if name == "msa" else 0)
    state = {key.removeprefix("sam."): value for key, value in model.state_dict().items()}
    for key in expected["after"].keys() & fates["before"].keys():  # SAMUS's new unit for positions is random
        value = expected["after"][key]
        torch.testing.assert_close(state[key], value, rtol=0, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parity
def test_the_release_takes_heads_from_sam_that_it_means_to_leave_out(sam_file):
    """SAMed's strict load copies what fits before it fails; for three classes that is the whole decoder."""
    source = torch.load(sam_file, weights_only=True)
    allowed = weight_sources()["sam_vit_b"].partial_for("samed")
    for classes, random in ((4, ()), (9, ("mask_tokens.*", "iou_prediction_head.layers.2.*"))):
        model = tiny("samed", 224, classes)
        before = {key: value.clone() for key, value in model.sam.mask_decoder.state_dict().items()}
        load_released(model, sam_file, allow_partial=allowed)
        for key, value in model.sam.mask_decoder.state_dict().items():
            new = f"mask_decoder.{key}" not in source or any(fnmatch(key, pattern) for pattern in random)
            assert torch.equal(value, before[key] if new else source[f"mask_decoder.{key}"]), key
        first = model.sam.image_encoder.blocks[0].attn.qkv
        assert torch.equal(first.qkv.weight, source["image_encoder.blocks.0.attn.qkv.weight"])
        assert not first.linear_b_q.weight.any() and first.linear_a_q.weight.abs().max() <= 8**-0.5


@pytest.mark.parity
def test_low_rank_updates_of_queries_and_values(parity_around):
    given = parity_around("weights_samed_lora")["block0"]
    layer = LowRankQueryValue(nn.Linear(8, 24), 4)
    names = ("qkv.weight", "qkv.bias", "linear_a_q.weight", "linear_b_q.weight", "linear_a_v.weight",
             "linear_b_v.weight")  # fmt: skip
    layer.load_state_dict(
        {name: given[name.replace("linear_", "").replace(".weight", "") if "linear" in name else name.replace(".", "_")]
         for name in names}
    )  # fmt: skip
    torch.testing.assert_close(layer(given["x"]), given["output"])


@pytest.fixture
def lora_file(parity_around, tmp_path):
    """A file of the release's form: the fixture's keys and shapes, drawn from a seed."""

    def write(**changes) -> tuple:
        generator = torch.Generator().manual_seed(1)
        shapes = parity_around("weights_samed_lora")["saved_keys"] | changes
        state = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items() if shape}
        torch.save(state, tmp_path / "samed.pth")
        return tmp_path / "samed.pth", state

    return write


def classes_of(state) -> int:
    return len(state["mask_decoder.mask_tokens.weight"])


@pytest.mark.parity
def test_updates_are_laid_over_sam(parity_around, sam_file, lora_file):
    path, state = lora_file()
    model, sources = tiny("samed", 224, classes_of(state)), weight_sources()
    load_released(model, sam_file, allow_partial=sources["sam_vit_b"].partial_for("samed"))
    encoder = {key: value.clone() for key, value in model.sam.image_encoder.state_dict().items()}
    report = load_released(model, path, allow_partial=sources["samed_synapse_512"].partial_for("samed"))
    assert len(report.loaded) == len(state) and not report.unexpected and not report.mismatched
    for short, key in parity_around("weights_samed_lora")["lora_map"].items():
        assert torch.equal(model.sam.get_parameter(key), state[short]), short
    after = model.sam.image_encoder.state_dict()
    assert all(torch.equal(after[key], encoder[key]) for key in after if ".linear_" not in key)
    token = model.sam.mask_decoder.mask_tokens.weight
    assert torch.equal(token, state["mask_decoder.mask_tokens.weight"])


@pytest.mark.parity
@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        ({"rank": 5}, {}, r"low-rank updates do not fit(.|\n)*24 of rank 5(.|\n)*\(4, 8\)"),
        ({}, {"w_a_023": None, "w_b_023": None}, r"24 of rank 4(.|\n)*23 of shapes"),
        ({"classes": 14}, {}, r"another number of classes(.|\n)*14 mask tokens"),
    ],
)
def test_updates_that_do_not_fit_are_refused(options, changes, message, lora_file):
    path, state = lora_file(**changes)
    model = tiny("samed", 224, options.pop("classes", classes_of(state)), **options)
    with pytest.raises(InputError, match=message) as caught:
        load_released(model, path, allow_partial=["*"])
    assert caught.value.where == path


def zeros(model: nn.Module) -> dict[str, torch.Tensor]:
    """Its keys and shapes, every value one shared zero."""
    return {key: torch.zeros(()).expand(value.shape) for key, value in model.state_dict().items()}


@pytest.mark.parametrize(
    "name", ["sam", "medsam", "sam_med2d", "msa", "samed", "samus", "desam", "autosam", "h_sam", "moe_sam"]
)
def test_a_file_of_another_size_is_refused(name, tmp_path):
    torch.save(zeros(full("sam", 64, size="vit_h")), tmp_path / "sam_vit_h.pth")
    message = r"another size(.|\n)*sam_vit_h.pth(.|\n)*width 768, 12 blocks \(vit_b\)(.|\n)*width 1280, 32 .*vit_h"
    with pytest.raises(InputError, match=message):
        load_released(full(name, 64, size="vit_b"), tmp_path / "sam_vit_h.pth", allow_partial=["*"])


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter.*")
@pytest.mark.parametrize("name", ["sam_vit_b", "sam_vit_l", "sam_vit_h"])
def test_every_network_begins_from_sam_of_its_size(name, tmp_path):
    """At full size: what a network lacks after loading is what the registry of weights says."""
    source = weight_sources()[name]
    torch.save(zeros(full("sam", 1024, **source.options)), tmp_path / source.file)
    for network, patterns in source.starts.items():
        fused = {"fusion": "add"} if "fusion" in allowed_options(model_entry(network)) else {}
        model = full(network, 256, classes=9, **{"size": "vit_b"} | source.options, **fused)
        report = load_released(model, tmp_path / source.file, allow_partial=source.partial_for(network))
        assert len(report.reshaped) == {"msa": 0, "samus": 8}.get(network, 9)  # positions and four pairs of tables
        excused = (*report.missing, *report.unexpected, *(key for key, _, _ in report.mismatched))
        assert len(report.loaded) > 270 and all(any(fnmatch(key, p) for p in patterns) for key in excused)


def test_a_whole_trained_network_is_read_again(tmp_path):
    options = {"in_channels": 1, "out_channels": 3, "spatial_shape": (64, 96), "size": DEMO_SIZE}
    for name in ("sam", "samed", "samus", "h_sam", "moe_sam"):
        model, other = build(name, **options), build(name, **options)
        torch.save({"model": model.state_dict()}, tmp_path / "trained.pth")
        report = load_released(other, tmp_path / "trained.pth")
        assert isinstance(report, LoadReport) and len(report.loaded) == len(model.state_dict())
        assert all(torch.equal(value, model.state_dict()[key]) for key, value in other.state_dict().items())


@pytest.mark.parity
def test_h_sam_is_laid_over_sam(fates, sam_file, tmp_path):
    """Its file is flat: updates numbered as SAMed's, the prompt encoder under both names, both decoders."""
    model, sources = tiny("h_sam", 224, 9), weight_sources()
    load_released(model, sam_file, allow_partial=sources["sam_vit_b"].partial_for("h_sam"))
    encoder = {key: value.clone() for key, value in model.sam.image_encoder.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    state = {f"w_a_{number:03d}": torch.randn(5, 8, generator=generator) for number in range(24)}
    state |= {f"w_b_{number:03d}": torch.randn(8, 5, generator=generator) for number in range(24)}
    own = {key.removeprefix("sam."): value for key, value in model.state_dict().items() if "image_encoder" not in key}
    state |= {key: torch.randn(value.shape, generator=generator) for key, value in own.items()}
    state |= {key.replace("encoder.", "encoder2."): state[key] for key in state if key.startswith("prompt_encoder.")}
    assert len(state) == 489
    torch.save(state, tmp_path / "h_sam_10.pth")
    partial = sources["h_sam_synapse_10"].partial
    report = load_released(model, tmp_path / "h_sam_10.pth", allow_partial=partial)
    assert len(report.loaded) == 489 and not report.unexpected and not report.mismatched
    after = model.state_dict()
    for number in range(24):
        block, part = divmod(number, 2)
        for letter in "ab":
            key = f"sam.image_encoder.blocks.{block}.attn.qkv.linear_{letter}_{'qv'[part]}.weight"
            assert torch.equal(after[key], state[f"w_{letter}_{number:03d}"])
    assert all(torch.equal(after[f"sam.{key}"], state[key]) for key in own)
    for key, value in encoder.items():
        assert ".linear_" in key or torch.equal(after[f"sam.image_encoder.{key}"], value)


@pytest.mark.parity
@pytest.mark.parametrize("tuning", ["adapter", "lora"])
def test_moe_sam_begins_from_sam_with_adapters_or_updates(tuning, sam_file):
    model = tiny("moe_sam", 256, 4, tuning=tuning)
    source = torch.load(sam_file, weights_only=True)
    report = load_released(model, sam_file, allow_partial=weight_sources()["sam_vit_b"].partial_for("moe_sam"))
    new = ({"adapter": "Adapter", "lora": "linear_"}[tuning], "fusion.", "layernorm", "fc1", "fc2")
    assert report.missing and all(any(part in key for part in new) for key in report.missing)
    assert not report.unexpected and not report.mismatched  # for three classes all of SAM's decoder fits
    qkv = model.image_encoder.blocks[3].attn.qkv
    weight = qkv.qkv.weight if tuning == "lora" else qkv.weight
    assert torch.equal(weight, source["image_encoder.blocks.3.attn.qkv.weight"])


def test_autosam_takes_the_files_of_hardnet_and_sam(tmp_path):
    """HarDNet's classifier has no place here; neither file touches what the other gave."""
    model, sources = full("autosam", 1024, size="vit_b"), weight_sources()
    prefix = "model.backbone."
    hardnet = {key.removeprefix(prefix): value for key, value in zeros(model).items() if key.startswith(prefix)}
    classifier = {"base.19.3.weight": torch.zeros(1000, 1280), "base.19.3.bias": torch.zeros(1000)}
    torch.save(hardnet | classifier, tmp_path / "hardnet.pth")
    source = sources["hardnet85_imagenet"]
    with pytest.warns(UserWarning, match="meta parameter"):
        report = load_released(model, tmp_path / "hardnet.pth", allow_partial=source.partial)
    assert len(report.loaded) == 504 and not report.unexpected and not report.mismatched
    assert {key.split(".")[0] for key in report.missing} == {"model", "sam"}
    assert {key.split(".")[1] for key in report.missing if key.startswith("model.")} == {"decoder"}
    torch.save(zeros(full("sam", 1024)), tmp_path / "sam.pth")
    with pytest.warns(UserWarning, match="meta parameter"):
        report = load_released(model, tmp_path / "sam.pth", allow_partial=sources["sam_vit_b"].partial_for("autosam"))
    assert len(report.loaded) == 314 and all(key.startswith("model.") for key in report.missing)
    small = build("autosam", in_channels=1, out_channels=2, spatial_shape=(64, 64), size=DEMO_SIZE, stem=(8, 12),
                  blocks=((6, 4, 16, True), (8, 8, 20, True), (10, 8, 24, True), (12, 4, 28, False)))  # fmt: skip
    weights = {key.removeprefix(prefix): torch.randn_like(value) if value.is_floating_point() else value
               for key, value in small.state_dict().items() if key.startswith(prefix)}  # fmt: skip
    torch.save(weights, tmp_path / "small.pth")
    load_released(small, tmp_path / "small.pth", allow_partial=source.partial)
    assert all(torch.equal(small.state_dict()[prefix + key], value) for key, value in weights.items())
