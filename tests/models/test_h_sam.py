"""H-SAM against the released network: both decoders, the inert branch, noise, keys and counts."""

from __future__ import annotations

import pytest
import torch
from helpers.released_facts import read_keys, shapes
from helpers.sam_facts import counts, full, largest
from torch import nn

from benchmark.models.h_sam import DEMO, HSam
from benchmark.models.layers.channel_norm import ChannelNorm
from benchmark.models.layers.sam.hierarchical import GatedAttention, class_gate
from benchmark.models.registry import build

SIZE = {"width": 32, "depth": 3, "heads": 4, "global_blocks": (2,), "window": 4, "channels": 32}
SIZE |= {"decoder_hidden": 64, "quality_hidden": 32}
SMALL = {"in_channels": 1, "out_channels": 3, "spatial_shape": (64, 96)} | DEMO


@pytest.fixture(scope="module")
def fixture(parity):
    return parity("h_sam")


@pytest.fixture
def released(fixture) -> HSam:
    model = build("h_sam", in_channels=3, out_channels=9, spatial_shape=(224, 224), size=SIZE, inert_hidden=64).eval()
    model.load_state_dict(fixture["state_dict"])
    return model


@pytest.mark.parity
def test_the_released_network(fixture, released):
    """A norm over two channels magnifies rounding: 99 % of the pixels agree to 1e-5, all to 2e-3."""
    image, output = fixture["input"]["image"].clone().requires_grad_(), fixture["output"]
    first, second, _, quality = released.stages(image)
    assert largest(first, output["low_res_logits1"]) < 1e-5
    assert largest(quality, output["iou2"]) < 1e-5
    difference = (second - output["low_res_logits2"]).abs().detach()
    assert difference.flatten().kthvalue(int(0.99 * difference.numel())).values < 1e-5 and difference.max() < 2e-3
    (gradient,) = torch.autograd.grad(second.square().mean(), image)
    assert gradient.norm().item() == pytest.approx(fixture["grad_norm"], rel=1e-3)
    prediction = released(image)[0].argmax(1)
    assert torch.equal(prediction, output["masks_average_argmax"].long())


@pytest.mark.parity
def test_in_double_precision(fixture, released, parity):
    """Codes of positions stay in single precision, as in the release."""
    expected = parity("h_sam_224_float64")
    image = fixture["input"]["image"].double().requires_grad_()
    first, second, first_quality, second_quality = released.double().stages(image)
    assert largest(first, expected["low_res_logits1"]) < 1e-7
    assert largest(second[..., ::4, ::4], expected["low_res_logits2_every_4th"]) < 1e-7
    assert largest(first_quality, expected["iou1"]) < 1e-7
    assert largest(second_quality, expected["iou2"]) < 1e-7
    (gradient,) = torch.autograd.grad(second.square().mean(), image)
    assert gradient.norm().item() == pytest.approx(expected["grad_norm"], rel=1e-5)


@pytest.mark.parity
def test_released_keys_and_shapes(reference):
    model = full("h_sam", 224, classes=9)
    assert shapes(model) == dict(read_keys(reference("models/h_sam.keys.json.gz")))


COUNTS = [  # side, classes, size, all parameters, those with gradients, entries
    (224, 9, "vit_b", 99_144_516, 12_520_004, 666),
    (512, 9, "vit_b", 111_282_384, 24_003_536, 666),
    (512, 8, "vit_b", 110_874_269, 23_595_421, 650),
    (512, 14, "vit_b", 113_322_959, 26_044_111, 746),
    (512, 4, "vit_b", 109_241_809, 21_962_961, 586),
]


@pytest.mark.parametrize(("side", "classes", "size", "total", "trained", "entries"), COUNTS)
def test_counts(side, classes, size, total, trained, entries):
    model = full("h_sam", side, classes=classes, size=size)
    assert counts(model) == (total, trained) and len(model.state_dict()) == entries


def test_parts_and_the_size_of_the_readme():
    model = full("h_sam", 224, classes=9)
    parts = {name: counts(part)[0] for name, part in model.sam.named_children()}
    assert parts == {
        "image_encoder": 86_808_832,
        "prompt_encoder": 8_012,
        "mask_decoder": 4_759_945,
        "mask_decoder2": 7_567_727,
    }
    updates = sum(p.numel() for p in model.sam.image_encoder.parameters() if p.requires_grad)
    assert updates == 184_320
    large = full("h_sam", 224, classes=9, size="vit_l")
    assert counts(large)[1] == 12_520_004 - updates + 24 * 4 * 5 * 1024


def test_both_names_of_the_prompt_encoder_are_one():
    model = build("h_sam", **SMALL)
    state = model.state_dict()
    names = [key for key in state if ".prompt_encoder." in key]
    assert len(names) == 24
    for key in names:
        other = state[key.replace("prompt_encoder", "prompt_encoder2")]
        assert other.data_ptr() == state[key].data_ptr()


def test_what_the_release_computes_before_its_softmax_over_one_channel_is_one():
    """The inert branch, written out: whatever its weights, the embedding is doubled."""
    torch.manual_seed(0)
    decoder = build("h_sam", **SMALL).sam.mask_decoder2.double()
    rows = torch.randn(2, 3, 24, dtype=torch.float64)  # classes x places
    rows = decoder.norm1(decoder.self_attn(rows, rows, rows))
    rows = decoder.self_attn2(rows, rows, rows)
    rows = decoder.norm2(rows + decoder.mlp(rows))
    selected = decoder.med_sel(rows.transpose(1, 2)).relu().transpose(1, 2).unflatten(2, (4, 6))
    assert torch.equal(selected.softmax(dim=1), torch.ones(2, 1, 4, 6, dtype=torch.float64))


def test_outputs_of_training_and_evaluation():
    torch.manual_seed(0)
    model, images = build("h_sam", **SMALL), torch.rand(2, 1, 50, 90)
    model.eval()
    mean, quarter = model(images)
    first, second, _, _ = model.stages(images)
    assert mean.shape == (2, 3, 50, 90) and quarter.shape == (2, 3, 13, 23)
    enlarged = nn.functional.interpolate(first, (64, 96), mode="bilinear", align_corners=False)
    torch.testing.assert_close(mean, ((second + enlarged) / 2)[..., :50, :90])
    model.train()
    torch.manual_seed(1)
    trained = model(images)
    torch.manual_seed(1)
    expected_first, expected_second, _, _ = model.stages(images)
    assert torch.equal(trained[0], expected_second[..., :50, :90])
    assert torch.equal(trained[1], expected_first[..., :13, :23])
    single = build("h_sam", deep_supervision=False, **SMALL).eval()
    assert single(images).shape == (2, 3, 50, 90)


def test_noise_reaches_the_second_decoder_only_and_only_in_training():
    torch.manual_seed(0)
    images = torch.rand(1, 1, 64, 96)
    noisy, still = (build("h_sam", noise=noise, **SMALL).train() for noise in (True, False))
    for model, changes in ((noisy, True), (still, False)):
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.eval()
        before, after = model.stages(images), model.stages(images)
        assert torch.equal(before[0], after[0])
        assert torch.equal(before[1], after[1]) != changes
    assert torch.equal(noisy.eval().stages(images)[1], noisy.stages(images)[1])
    dropout = [m.p for m in noisy.sam.mask_decoder2.modules() if isinstance(m, nn.Dropout)]
    assert dropout == [0.2, 0.2]


def test_the_gate_multiplies_the_weights_after_the_softmax():
    torch.manual_seed(0)
    layer = GatedAttention(16)
    query, key, value = (torch.randn(2, length, 16) for length in (3, 5, 5))
    gate = torch.rand(2, 3, 5)
    projected = layer.v_proj(value).unflatten(-1, (8, 2))
    expected = torch.zeros(2, 3, 8, 2)
    for head in range(8):
        own = slice(2 * head, 2 * head + 2)
        q, k = layer.q_proj(query)[..., own], layer.k_proj(key)[..., own]
        weights = (q @ k.transpose(1, 2) / 2**0.5).softmax(-1) * gate
        expected[:, :, head] = weights @ projected[:, :, head]
    torch.testing.assert_close(layer(query, key, value, gate), layer.out_proj(expected.flatten(2)))


def test_the_gate_is_the_softmax_of_the_middle_of_each_cell():
    logits = torch.randn(1, 3, 8, 12)
    middle = logits.unflatten(3, (3, 4)).unflatten(2, (2, 4))[:, :, :, 1:3, :, 1:3].mean(dim=(3, 5))
    torch.testing.assert_close(class_gate(logits, (2, 3)), middle.softmax(1).flatten(2))


def test_norms_have_the_released_eps():
    for name, norm in build("h_sam", **SMALL).named_modules():
        if isinstance(norm, nn.LayerNorm):
            in_decoder = name.startswith("sam.mask_decoder") and not isinstance(norm, ChannelNorm)
            assert norm.eps == (1e-5 if in_decoder else 1e-6), name
