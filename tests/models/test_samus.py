"""SAMUS against the released network: points, several prompts, other sizes, keys, counts and what trains."""

from __future__ import annotations

import pytest
import torch
from helpers.released_facts import read_keys, shapes
from helpers.sam_facts import assert_gradient, counts, full, largest
from torch import nn

from benchmark.errors import InputError
from benchmark.models.layers.channel_norm import ChannelNorm
from benchmark.models.layers.sam.side_branch import BranchedBlock, halvings
from benchmark.models.layers.sam.sizes import DEMO_SIZE
from benchmark.models.registry import build, model_entry
from benchmark.models.samus import square_side

SIZE = {"width": 24, "depth": 4, "heads": 4, "global_blocks": (1, 3), "channels": 32}
SIZE |= {"decoder_hidden": 64, "quality_hidden": 32}
TOLERANCE = 1e-5


def released(fixture) -> nn.Module:
    model = build("samus", in_channels=3, out_channels=2, spatial_shape=(256, 256), size=SIZE).eval()
    model.load_state_dict(fixture["state_dict"])
    return model


@pytest.mark.parity
def test_the_released_network(parity):
    fixture = parity("samus")
    model, given, output = released(fixture), fixture["input"], fixture["output"]
    image = given["image"].requires_grad_()
    masks = model.decode(model.encode(image), given["point_coords"], given["point_labels"], torch.tensor([0]))
    assert largest(masks.low_resolution, output["low_res_logits"]) < TOLERANCE
    assert largest(masks.logits[..., ::4, ::4], output["masks_256_quarter"]) < TOLERANCE
    assert_gradient(masks.low_resolution, image, fixture["grad_norm"])
    embedding, points = model.encode(given["image2"]), given["point_coords2"]
    masks = model.decode(embedding, points, torch.ones(2, 1), torch.arange(2))
    assert largest(masks.low_resolution, output["low_res_logits_2images"]) < TOLERANCE


@pytest.mark.parity
def test_the_last_block_and_the_branch(parity):
    fixture = parity("samus")
    model, seen = released(fixture), []
    model.image_encoder.blocks[3].refine_Adapter.register_forward_hook(lambda *call: seen.append(call[-1]))
    encoded = model.image_encoder(model.prepare(fixture["input"]["image"]), keep=[3])
    assert largest(encoded.layers[0], fixture["output"]["vit_last_block"]) < TOLERANCE
    assert largest(seen[0].permute(0, 2, 3, 1), fixture["output"]["cnn_last_block"]) < TOLERANCE


@pytest.mark.parity
@pytest.mark.parametrize("case", ["two_images_three_points", "two_images_three_prompts_4d"])
def test_in_double_precision(case, parity):
    """Prompts of several points with labels 1 and 0, and several prompts per image."""
    fixture, expected = parity("samus"), parity("samus_float64")[case]
    model = released(fixture).double()
    image = fixture["input"]["image2"].double().requires_grad_()
    points, labels, image_index = expected["points"], expected["labels"], torch.arange(len(image))
    if points.ndim == 4:
        image_index = image_index.repeat_interleave(points.shape[1])
        points, labels = points.flatten(0, 1), labels.flatten(0, 1)
    masks = model.decode(model.encode(image), points, labels, image_index)
    low_resolution = masks.low_resolution.view_as(expected["low_res_logits"])
    assert largest(low_resolution, expected["low_res_logits"]) < 1e-6
    quarter = masks.logits[..., ::4, ::4].view_as(expected["masks_every_4th"])
    assert largest(quarter, expected["masks_every_4th"]) < 1e-6
    (gradient,) = torch.autograd.grad(low_resolution.square().mean(), image)
    assert gradient.norm().item() == pytest.approx(expected["grad_norm"], rel=1e-6)


@pytest.mark.parity
def test_released_keys_shapes_and_counts(reference):
    model = full("samus", 256)
    assert shapes(model) == dict(read_keys(reference("models/samus.keys.json.gz")))
    assert counts(model) == (133_323_568, 39_653_120)


def test_what_trains_by_part():
    trained: dict[str, int] = {}
    for name, parameter in full("samus", 256).named_parameters():
        parts = name.split(".")
        part = parts[3] if parts[1] == "blocks" else parts[1]
        trained[part] = trained.get(part, 0) + parameter.numel() * parameter.requires_grad
    assert {part: count for part, count in trained.items() if count} == {
        "cnn_embed": 2_142_272,
        "post_pos_embed": 5_309_952,
        "input_Adapter": 295_872,
        "MLP_Adapter": 1_183_488,
        "Space_Adapter": 9_449_472,
        "refine_Adapter": 21_239_808,
        "attn": 32_256,
    }


@pytest.mark.parametrize("size", ["vit_l", "vit_h"])
def test_larger_encoders_train_the_tables_of_their_global_blocks_only(size):
    model = full("samus", 256, size=size)
    tables = {name for name, p in model.named_parameters() if p.requires_grad and "rel_pos" in name}
    branched = [number for number, block in enumerate(model.image_encoder.blocks) if isinstance(block, BranchedBlock)]
    expected = {f"image_encoder.blocks.{number}.attn.rel_pos_{axis}" for number in branched for axis in "hw"}
    assert len(branched) == 4 and tables == expected


def test_the_branch_is_as_deep_as_the_image_is_large():
    for side, widths in ((32, [24]), (64, [64, 24]), (128, [64, 128, 24]), (512, [64, 128, 256, 512, 24])):
        model = build("samus", in_channels=1, out_channels=2, spatial_shape=(side, side), size=SIZE).eval()
        branch = model.image_encoder.cnn_embed
        assert [
            branch.inc.conv[0].out_channels,
            *(down.maxpool_conv[1].out_channels for down in branch.downs),
        ] == widths
        embedding = model.encode(torch.rand(1, 1, side, side))
        assert embedding.features.shape == (1, 32, 32, 32)
        masks = model.decode(embedding, torch.tensor([[[3.0, 9]]]), torch.ones(1, 1), torch.tensor([0]))
        assert masks.low_resolution.shape[2:] == (128, 128) and masks.logits.shape[2:] == (side, side)


def test_other_shapes_are_padded_to_the_square():
    assert [square_side(shape) for shape in ((20, 30), (64, 64), (65, 10), (100, 200))] == [32, 64, 128, 256]
    assert (halvings(64, 32), halvings(256, 32)) == (1, 3)
    with pytest.raises(ValueError, match="power of two"):
        halvings(224, 32)
    model = build("samus", in_channels=1, out_channels=2, spatial_shape=(100, 60), size=SIZE).eval()
    image = torch.rand(1, 1, 100, 60)
    padded = nn.functional.pad(image, (0, 68, 0, 28))
    query = torch.tensor([[[30.0, 50]]]), torch.ones(1, 1), torch.tensor([0])
    alone, within = (model.decode(model.encode(images), *query) for images in (image, padded))
    assert torch.equal(alone.logits, within.logits[..., :100, :60])


def test_norms_have_the_released_eps():
    model = build("samus", in_channels=1, out_channels=2, spatial_shape=(64, 64), size=DEMO_SIZE)
    for name, norm in model.named_modules():
        if isinstance(norm, nn.LayerNorm):
            in_decoder = name.startswith("mask_decoder.") and not isinstance(norm, ChannelNorm)
            assert norm.eps == (1e-5 if in_decoder else 1e-6), name


def test_the_decoder_trains_where_it_is_asked_for():
    options = {"in_channels": 1, "out_channels": 2, "spatial_shape": (64, 64), "size": DEMO_SIZE}
    frozen, trained = (build("samus", train_decoder=train, **options) for train in (False, True))
    assert not any(p.requires_grad for p in frozen.mask_decoder.parameters())
    assert all(p.requires_grad for p in trained.mask_decoder.parameters())
    assert model_entry("samus").demo["train_decoder"]  # without weights of SAM, nothing could be learnt


def test_illegal_channels_are_input_errors():
    with pytest.raises(InputError, match="samus"):
        build("samus", in_channels=2, out_channels=2, spatial_shape=(64, 64))
