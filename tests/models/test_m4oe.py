"""M4oE: counts of the released network and its ablations, gates, routing, heads, and a new modality."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.released_facts import assert_parity, read_keys, relative_difference, shapes

from benchmark.errors import InputError
from benchmark.models.m4oe import Experts
from benchmark.models.registry import build
from benchmark.models.released import load_released, weight_sources

HEADS = (4, 2, 3)
SMALL = {"in_channels": 3, "out_channels": 4, "spatial_shape": (64, 64), "heads": HEADS}
SMALL |= {"width": 8, "attention_heads": (1, 2, 2, 4), "window": 4}


def build_published(**options):
    with torch.device("meta"):
        return build("m4oe", in_channels=3, out_channels=16, spatial_shape=(224, 224), heads=(14, 3, 16), **options)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def small(seed: int = 0, **options):
    torch.manual_seed(seed)
    return build("m4oe", **SMALL | options).eval()


@pytest.mark.parity
def test_counts_and_keys(reference):
    facts = json.loads(reference("models/m4oe.json").read_text())["params_measured"]
    released = build_published()
    assert count(released) == facts["released network, heads 14/3/16, 3 experts"]
    keys = read_keys(reference("models/m4oe.keys.json.gz"))
    assert shapes(released) == {key: shape for key, shape in keys.items() if not key.endswith("attn_mask")}
    rows = [
        {"encoder_experts": False, "decoder_experts": False},
        {"decoder_experts": False},
        {"encoder_experts": False},
        {"gate": "none"},
        {},
    ]
    assert [count(build_published(**options)) for options in rows] == list(facts["by ablation row"].values())
    gates = sum(m.gating_network.weight.numel() + len(m.gating_network.bias) for m in experts_of(released))
    assert gates == facts["all gating layers"]


def experts_of(model):
    return [module for module in model.modules() if isinstance(module, Experts)]


@pytest.mark.parity
def test_the_released_network(parity):
    fixture = parity("m4oe")
    model = small()
    state = fixture["state_dict"]
    model.load_state_dict({key: value for key, value in state.items() if not key.endswith("attn_mask")})
    fixture["input"] = [fixture["input"], fixture["dataset_id"], fixture["predict_head"]]
    assert_parity(model, fixture)


@pytest.mark.parity
def test_the_report_names_the_stored_masks(parity, tmp_path):
    state = parity("m4oe")["state_dict"]
    torch.save(state, tmp_path / "m4oe.pth")
    report = load_released(small(), tmp_path / "m4oe.pth")
    masks = {key for key in state if key.endswith("attn_mask")}
    assert masks and set(report.recomputed) == masks and set(report.loaded) == set(state) - masks


@pytest.mark.parity
def test_the_released_gate(parity):
    fixture = parity("m4oe_ffn_gating")
    layer = Experts(12, 3, "as_released")
    layer.load_state_dict(fixture["state_dict"])
    image = fixture["input"].clone().requires_grad_()
    output = layer(image, [0, 0, 0])
    assert relative_difference(output, fixture["output"]) < 1e-5
    output.square().mean().backward()
    assert image.grad.norm().item() == pytest.approx(fixture["grad_norm"], rel=1e-4)


def test_the_written_gate_is_a_convex_sum_over_experts():
    torch.manual_seed(0)
    layer = Experts(6, 3, "as_written")
    features = torch.randn(2, 5, 6)
    weights = torch.softmax(features @ layer.gating_network.weight.T + layer.gating_network.bias, -1)
    expected = torch.einsum("bte,ebtc->btc", weights, torch.stack([expert(features) for expert in layer.experts]))
    torch.testing.assert_close(layer(features, [0, 0]), expected)
    layer.gating_network.bias.data[1] = 100
    torch.testing.assert_close(layer(features, [0, 0]), layer.experts[1](features))


def test_without_a_gate_each_sample_has_the_expert_of_its_dataset():
    torch.manual_seed(0)
    layer = Experts(6, 3, "none")
    features = torch.randn(3, 5, 6)
    found = layer(features, [2, 0, 2])
    for i, expert in enumerate([2, 0, 2]):
        torch.testing.assert_close(found[i], layer.experts[expert](features[i]))
    assert not any("gating" in name for name, _ in layer.named_parameters())


def test_the_default_head_is_the_one_with_the_classes_asked_for():
    model, image = small(out_channels=3, gate="none"), torch.rand(2, 3, 64, 64)
    assert torch.equal(model(image), model(image, [2, 2], [2, 2]))
    assert model.unused_parameters == ()  # of a joint training, where other samples use the others


def test_a_single_head_leaves_the_others_alone():
    model, image = small(out_channels=3, head=2, gate="none"), torch.rand(2, 3, 64, 64)
    assert torch.equal(model(image), model(image, [2, 2], [2, 2]))
    assert set(model.unused_parameters) >= {"outputs.0.*", "outputs.1.*", "*.mlp.experts.0.*"}
    model(image).square().mean().backward()
    unused = {name for name, value in model.named_parameters() if value.grad is None}
    assert {name.split(".experts.")[-1][0] for name in unused if ".experts." in name} == {"0", "1"}


def test_heads_are_padded_in_a_mixed_batch_and_selected_again():
    model, image = small(), torch.rand(3, 3, 64, 64)
    logits = model(image, predict_head=torch.tensor([1, 2, 1]))
    assert logits.shape == (3, 3, 64, 64)
    assert not logits[0, 2:].any()
    parts = model.select(logits, [1, 2, 1])
    assert [len(part) for part in parts] == [2, 3, 2]
    torch.testing.assert_close(parts[0], model(image[:1], [0], [1])[0])
    assert model(image).shape == (3, 4, 64, 64)


@pytest.mark.parametrize("gate", ["as_released", "as_written", "none"])
def test_a_new_modality_touches_nothing_else(gate):
    model, image = small(gate=gate), torch.rand(1, 3, 64, 64)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    output = model(image)
    index = model.add_modality(classes=7)
    assert (index, model.classes) == (3, (*HEADS, 7))
    promised = small(gate=gate).parameters_added(classes=7)
    after = dict(model.named_parameters())
    for name, value in before.items():
        assert torch.equal(after[name][: len(value)], value), name
    grown = sum(p.numel() for p in after.values()) - sum(p.numel() for p in before.values())
    one_expert = sum(p.numel() for module in experts_of(model) for p in module.experts[3].parameters())
    gates = sum(m.channels + 1 for m in experts_of(model)) if gate == "as_written" else 0
    assert grown == one_expert + gates + 7 * 8 == promised
    assert model(image, [3]).shape == (1, 7, 64, 64)
    if gate == "none":
        assert torch.equal(model(image), output)


def test_an_expert_takes_the_perceptrons_of_a_masked_autoencoder():
    model = small()
    options = {"width": 8, "heads": (1, 2, 2, 4), "window": 4}
    pretrained = build("swin_mae", in_channels=3, out_channels=3, spatial_shape=(64, 64), **options)
    others = model.layers[0].blocks[0].mlp.experts[0][0].weight.clone()
    written = model.load_expert(1, pretrained.state_dict())
    assert len(written) == 8 * 4  # two weights and two biases in each block of the encoder
    expert = model.layers[2].blocks[1].mlp.experts[1]
    assert torch.equal(expert[2].weight, pretrained.layers[2].blocks[1].mlp.fc2.weight)
    assert torch.equal(model.layers[0].blocks[0].mlp.experts[0][0].weight, others)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = model.begin_from("expert2", pretrained.state_dict())
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert len(changed) == 16 and changed < set(report.loaded)  # biases are 0 in both
    assert all(".experts.2." in name for name in report.loaded)
    with pytest.raises(InputError, match="cannot begin"):
        model.begin_from("expert3", pretrained.state_dict())
    with pytest.raises(InputError, match="cannot begin"):
        small(encoder_experts=False).begin_from("expert0", pretrained.state_dict())


def pattern(key: str) -> str:
    return ".".join("*" if part.isdecimal() else part for part in key.split("."))


@pytest.mark.parity
def test_the_released_loader_takes_no_perceptron_of_a_masked_autoencoder(parity_around):
    """Of 380 entries 87 change; the loader's rule is by name and shape."""
    facts = parity_around("weights_m4oe")["results"]["m4oe_from_swin_mae"]
    options = {"in_channels": 3, "spatial_shape": (64, 64), "width": 8, "window": 2}
    pretrained = build("swin_mae", out_channels=3, heads=(1, 2, 2, 4), **options)
    model = build("m4oe", out_channels=16, heads=(14, 3, 16), attention_heads=(1, 2, 2, 4), **options)
    for parameter in pretrained.parameters():
        parameter.data.uniform_(1, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = model.begin_from("encoder", pretrained.state_dict())
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert {pattern(name) for name in changed} == set(facts["changed_patterns"])
    assert len(changed) == facts["changed"]
    assert set(changed) <= set(report.loaded) and not any("experts" in name for name in report.loaded)


def test_grey_patches_of_an_autoencoder_give_the_same_features():
    options = {"in_channels": 1, "spatial_shape": (64, 64), "width": 8, "window": 4}
    pretrained = build("swin_mae", out_channels=1, heads=(1, 2, 2, 4), **options)
    model = build("m4oe", out_channels=4, heads=HEADS, attention_heads=(1, 2, 2, 4), **options)
    report = model.begin_from("encoder", pretrained.state_dict())
    assert report.reshaped == (("patch_embed.proj.weight", (8, 1, 4, 4), (8, 3, 4, 4)),)
    image = torch.rand(2, 1, 64, 64)
    expected = pretrained.patch_embed.proj(image)  # the norms have other epsilons
    torch.testing.assert_close(model.patch_embed.proj(image.expand(2, 3, 64, 64)), expected, atol=1e-5, rtol=1e-4)


def test_perceptrons_go_where_there_are_no_experts():
    """The row of Table 4 without experts begins from a whole encoder."""
    options = {"width": 8, "heads": (1, 2, 2, 4), "window": 4}
    pretrained = build("swin_mae", in_channels=3, out_channels=3, spatial_shape=(64, 64), **options)
    model = small(encoder_experts=False)
    model.begin_from("encoder", pretrained.state_dict())
    assert torch.equal(model.layers[1].blocks[1].mlp.fc1.weight, pretrained.layers[1].blocks[1].mlp.fc1.weight)


@pytest.mark.parity
def test_of_swin_tiny_all_but_experts_gates_and_decoder_is_taken(reference, tmp_path):
    keys = read_keys(reference("models/swin_unet.keys.json.gz"))
    state = {
        key: torch.zeros(shape) for key, shape in keys.items() if key.startswith(("patch_embed.", "layers.", "norm."))
    }
    path = tmp_path / "swin_tiny_patch4_window7_224.pth"
    torch.save({"model": state | {"head.weight": torch.zeros(1000, 768)}}, path)
    model = build("m4oe", in_channels=3, out_channels=14, spatial_shape=(224, 224), experts=1)
    report = load_released(model, path, allow_partial=weight_sources()["swin_tiny_imagenet_m4oe"].partial)
    taken = {key for key in state if ".mlp." not in key and not key.endswith("attn_mask")}
    assert set(report.loaded) == taken
    assert not model.layers[3].blocks[1].attn.qkv.weight.any()


@pytest.mark.parametrize(
    "options", [{"gate": "hard"}, {"out_channels": 5}, {"depths": (2, 2, 2)}, {"gate": "none", "experts": 2}]
)
def test_illegal_options_are_input_errors(options):
    with pytest.raises(InputError, match="m4oe"):
        build("m4oe", **SMALL | options)
