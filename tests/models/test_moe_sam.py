"""MoE-SAM against the released network, the rows of its Tables 2 and 3, its variants, and what Fig. 2 shows."""

from __future__ import annotations

import pytest
import torch
from helpers.released_facts import read_keys, shapes
from helpers.sam_facts import SMALL, assert_gradient, counts, full, largest
from torch import nn

from benchmark.errors import InputError
from benchmark.models.layers.channel_norm import ChannelNorm
from benchmark.models.layers.sam.adapters import AdapterBlock
from benchmark.models.layers.sam.image_encoder import ImageEncoder
from benchmark.models.layers.sam.lpeg import SelfPromptEncoder
from benchmark.models.layers.sam.sizes import DEMO_SIZE, sam_size
from benchmark.models.moe_sam import MoESAM
from benchmark.models.registry import build

TOLERANCE = 1e-5
# 128 tokens per image and expert are half of 4 layers of 8 x 8.
RELEASED = {"lpeg_hidden": 8, "feb_heads": 4, "top_k": 128, "routing_at_test": "batch", "unused_layers": True}


def released(fixture, **options) -> MoESAM:
    options = {"in_channels": 3, "out_channels": 4, "spatial_shape": (128, 128), "size": SMALL} | RELEASED | options
    model = build("moe_sam", **options).eval()
    model.load_state_dict(model.adapt_released(fixture["state_dict"]))
    return model


def demo(seed: int = 0, **options) -> MoESAM:
    torch.manual_seed(seed)
    options = {"in_channels": 1, "out_channels": 3, "spatial_shape": (64, 96), "size": DEMO_SIZE} | options
    return build("moe_sam", **{"top_k": 0.5} | options)


@pytest.mark.parity
def test_the_released_network(parity):
    fixture = parity("moe_sam")
    model, output = released(fixture), fixture["output"]
    image = fixture["input"]["image"].requires_grad_()
    assert largest(model(image), output["masks"]) < TOLERANCE
    assert_gradient(model(image), image, fixture["grad_norm"])
    low_resolution, iou = model.predict(image)
    assert largest(low_resolution, output["low_res_logits"]) < TOLERANCE
    assert largest(iou, output["iou"]) < TOLERANCE
    with_noise, _ = model.predict(image, fixture["input"]["noise_E_by_tokens"].T[None])
    assert largest(model.enlarge(with_noise, (128, 128)), output["masks_with_noise"]) < TOLERANCE


@pytest.mark.parity
def test_the_tokens_that_the_release_chooses(parity):
    fixture = parity("moe_sam")
    model, image = released(fixture), fixture["input"]["image"]
    tokens = model.features(image)["layers"].permute(0, 1, 3, 4, 2).flatten(0, 3)[None]
    for key, draw in (("indices", None), ("indices_with_noise", fixture["input"]["noise_E_by_tokens"].T[None])):
        found, _ = model.fusion.ExpertChoiceTokenMoE.route(tokens, 2, draw)
        assert [set(row) for row in found[0].tolist()] == [set(row) for row in fixture["output"][key].tolist()]


@pytest.mark.parity
def test_the_released_encoder(parity):
    fixture = parity("moe_sam_adapter_encoder")
    encoder = ImageEncoder(sam_size(SMALL), (8, 8), AdapterBlock)
    encoder.load_state_dict(fixture["state_dict"])
    image = fixture["input"]["image"].requires_grad_()
    embedding, layers = encoder(image, range(4))
    assert largest(embedding, fixture["output"]["neck"]) < TOLERANCE
    for found, expected in zip(layers, fixture["output"]["blocks"], strict=True):
        assert largest(found, expected) < TOLERANCE
    assert_gradient(embedding, image, fixture["grad_norm"])


@pytest.mark.parity
def test_the_released_prompt_generator(parity):
    fixture = parity("lpeg")
    encoder = SelfPromptEncoder(256, (8, 8), (128, 128))
    report = encoder.load_state_dict(fixture["state_dict"], strict=False)
    assert not report.unexpected_keys
    image = fixture["input"]["image_embedding"].requires_grad_()
    prompts = encoder.self_prompt(image)
    assert largest(prompts.sparse, fixture["output"]["sparse"]) < TOLERANCE
    assert_gradient(prompts.sparse, image, fixture["grad_norm"])
    assert torch.equal(prompts.dense, encoder().dense)


@pytest.mark.parity
def test_released_keys_and_shapes(reference):
    model = full("moe_sam", 256, classes=8, unused_layers=True)
    published = dict(read_keys(reference("models/moe_sam.keys.json.gz")))
    here = model.adapt_released({key: torch.empty(shape, device="meta") for key, shape in published.items()})
    assert {key: list(value.shape) for key, value in here.items()} == shapes(model)


COUNTS = {  # data set: side, classes, all parameters and those with gradients in the release
    "synapse": (224, 9, 120_621_837, 33_982_129),
    "mmwhs": (256, 8, 120_529_644, 33_841_808),
    "btcv": (256, 14, 121_371_570, 34_683_734),
    "acdc": (256, 4, 119_968_360, 33_280_524),
}


@pytest.mark.parametrize("dataset", COUNTS)
def test_counts_of_the_release(dataset):
    side, classes, total, trained = COUNTS[dataset]
    model = full("moe_sam", side, classes=classes, unused_layers=True, train_lpeg=False)
    assert counts(model) == (total, trained)


TABLE_2 = [  # tuning, FEB, LPEG: all parameters and those with gradients (MMWHS)
    ("adapter", False, False, 98_399_412, 11_720_552),
    ("adapter", True, False, 120_445_116, 33_766_256),
    ("adapter", False, True, 98_408_388, 11_729_528),
    ("adapter", True, True, 120_454_092, 33_775_232),
    ("lora", False, False, 91_445_940, 4_773_300),
    ("lora", True, False, 113_491_644, 26_819_004),
    ("lora", False, True, 91_454_916, 4_782_276),
    ("lora", True, True, 113_500_620, 26_827_980),
]


@pytest.mark.parametrize(("tuning", "feb", "lpeg", "total", "trained"), TABLE_2)
def test_rows_of_table_2(tuning, feb, lpeg, total, trained):
    model = full("moe_sam", 256, classes=8, tuning=tuning, feb=feb, lpeg=lpeg)
    assert counts(model) == (total, trained)
    small = demo(tuning=tuning, feb=feb, lpeg=lpeg)
    small(torch.rand(2, 1, 64, 96)).square().mean().backward()
    moving = {name.split(".")[0] for name, p in small.named_parameters() if p.grad is not None}
    prompted = {"prompt_encoder"} if lpeg or tuning == "lora" else set()
    assert moving == {"image_encoder", "mask_decoder", *prompted, *({"fusion"} if feb else ())}


@pytest.mark.parametrize(("base", "classes", "trained"), [("sam", 2, 26_104_044), ("sam_med2d", 2, 206_614_840),
                                                          ("samed", 8, 26_819_004)])  # fmt: skip
def test_rows_of_table_3(base, classes, trained):
    """The same block on three bases, which train as they do without it."""
    alone, fused = (full(base, 256, classes=classes, fusion=fusion) for fusion in ("none", "feb"))
    assert counts(fused)[1] == trained
    assert [after - before for before, after in zip(counts(alone), counts(fused), strict=True)] == [22_045_704] * 2


def test_the_row_lora_is_samed():
    """Equal cells of Tables 2 and 3 say so; with the same weights it is the same network."""
    mine = demo(tuning="lora", feb=False, lpeg=False).eval()
    options = {"in_channels": 1, "out_channels": 3, "spatial_shape": (64, 96), "size": DEMO_SIZE, "rank": 4}
    samed = build("samed", deep_supervision=False, **options).eval()
    samed.sam.load_state_dict(mine.state_dict())
    images = torch.rand(2, 1, 60, 90)
    assert torch.equal(samed(images), mine(images))
    samed.deep_supervision = mine.deep_supervision = True
    assert all(torch.equal(*levels) for levels in zip(samed(images), mine(images), strict=True))


def test_the_generator_reads_the_embedding_before_or_after_the_fusion():
    before, after, images = demo().eval(), demo(lpeg_input="fused").eval(), torch.rand(1, 1, 64, 96)
    after.load_state_dict(before.state_dict())
    seen: list[torch.Tensor] = []
    for model in (before, after):
        model.prompt_encoder.layernorm.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
        maps = model.features(images)
    assert torch.equal(seen[0], maps["neck"]) and torch.equal(seen[1], maps["fused"])


def test_the_generator_is_trained_or_left_at_random():
    parts = ("prompt_encoder.layernorm", "prompt_encoder.fc1", "prompt_encoder.fc2")
    for train in (True, False):
        names = {
            n for n, p in demo(train_lpeg=train).prompt_encoder.named_parameters("prompt_encoder") if p.requires_grad
        }
        assert bool(names) == train and all(name.startswith(parts) for name in names)


def test_a_prediction_depends_on_its_neighbours_only_as_released():
    images = torch.rand(3, 1, 64, 96)
    with torch.no_grad():
        for mode, alike in (("image", True), ("batch", False)):
            model = demo(routing_at_test=mode).eval()
            difference = (model(images)[:1] - model(images[:1])).abs().max()
            assert (difference < 1e-5) == alike


def test_noise_at_test_only_as_released():
    images = torch.rand(1, 1, 64, 96)
    with torch.no_grad():
        for noise in (False, True):
            model = demo(noise_at_test=noise).eval()
            assert torch.equal(model(images), model(images)) != noise


@pytest.mark.parametrize("top_k", [1176, 0.5, 3])
def test_a_batch_smaller_than_the_configured_one(top_k):
    """The release stops where a batch has fewer tokens than an expert takes: the last one, a short volume."""
    model = demo(top_k=top_k, top_k_batch=8)
    for images in (torch.rand(1, 1, 64, 96), torch.rand(3, 1, 33, 20)):
        for mode in (True, False):
            assert model.train(mode)(images).isfinite().all()


def test_maps_of_fig_2():
    model, images = demo().eval(), torch.rand(2, 1, 60, 90)
    maps = model.features(images)
    assert {name: tuple(values.shape) for name, values in maps.items()} == {
        "layers": (2, 4, 32, 4, 6),
        "neck": (2, 32, 4, 6),
        "fused": (2, 32, 4, 6),
        "attention": (2, 3, 4, 6),
    }
    encoded = model.image_encoder(model.prepare(images), [1])
    torch.testing.assert_close(maps["layers"][:, 1], encoded.layers[0].permute(0, 3, 1, 2))
    torch.testing.assert_close(maps["neck"], encoded.embedding)
    torch.testing.assert_close(maps["attention"].sum(dim=(2, 3)), torch.ones(2, 3))
    assert not any(values.requires_grad for values in maps.values())
    unfused = demo(feb=False, lpeg=False).eval().features(images)
    assert torch.equal(unfused["neck"], unfused["fused"])


def test_the_attention_of_fig_2_is_what_the_decoder_uses():
    """With the same values in every head, the mean of the heads is read by the mean of their weights."""
    model, images, values = demo(lpeg=False).eval(), torch.rand(1, 1, 64, 96), []
    attention = model.mask_decoder.transformer.final_attn_token_to_image
    width = len(attention.v_proj.weight) // attention.heads
    with torch.no_grad():
        attention.v_proj.weight.copy_(attention.v_proj.weight[:width].repeat(attention.heads, 1))
        attention.v_proj.bias.copy_(attention.v_proj.bias[:width].repeat(attention.heads))
    maps = model.features(images)["attention"].flatten(2)
    attention.v_proj.register_forward_hook(lambda *call: values.append(call[-1]))
    attention.out_proj.register_forward_pre_hook(lambda _, arguments: values.append(arguments[0]))
    model(images)
    projected, read = values
    masks = read[:, 1:].unflatten(-1, (attention.heads, width)).mean(2)
    torch.testing.assert_close(masks, maps @ projected[..., :width])


def test_norms_have_the_released_eps():
    for name, norm in demo(unused_layers=True).named_modules():
        if isinstance(norm, nn.LayerNorm):
            in_decoder = name.startswith("mask_decoder.") and not isinstance(norm, ChannelNorm)
            assert norm.eps == (1e-5 if in_decoder else 1e-6), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tuning": "full"}, "adapter or lora"),
        ({"lpeg_input": "image"}, "embedding or fused"),
        ({"routing_at_test": "none"}, "image or batch"),
        ({"top_k": 0}, "top_k"),
    ],
)
def test_illegal_options_are_input_errors(options, message):
    with pytest.raises(InputError, match=message):
        demo(**options)
