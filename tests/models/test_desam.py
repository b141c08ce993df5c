"""DeSAM against the released network: encoder maps, points, boxes, the U-Net, keys and counts."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.released_facts import read_keys, shapes
from helpers.sam_facts import assert_gradient, counts, full, largest
from torch import nn
from torch.nn import functional

from benchmark.errors import InputError
from benchmark.models.layers.channel_norm import ChannelNorm
from benchmark.models.layers.sam.decoupled import EPS, SLOPE, ResidualExcitation
from benchmark.models.registry import build, model_entry

SIZE = {"width": 48, "depth": 8, "heads": 4, "global_blocks": (1, 3, 5, 7), "window": 3, "channels": 64}
SIZE |= {"decoder_hidden": 64, "quality_hidden": 32}
TOLERANCE = 1e-5
EACH = torch.arange(2)


@pytest.fixture
def fixture(parity):
    return parity("desam")


def released(fixture) -> nn.Module:
    model = build("desam", in_channels=3, out_channels=2, spatial_shape=(128, 128), size=SIZE).eval()
    model.load_state_dict(fixture["state_dict"])
    return model


@pytest.mark.parity
def test_the_released_network(fixture):
    model, given, output = released(fixture), fixture["input"], fixture["output"]
    image = (given["image"] / 255).requires_grad_()
    embedding = model.encode(image)
    for found, expected in zip([*embedding.layers, embedding.features], output["embeddings"], strict=True):
        assert largest(found, expected) < TOLERANCE
    masks = model.decode(embedding, given["point_coords"], given["point_labels"], EACH)
    assert largest(masks.low_resolution, output["masks"]) < TOLERANCE
    assert largest(masks.predicted_iou, output["iou"]) < TOLERANCE
    assert_gradient(masks.low_resolution, image, fixture["grad_norm"], scale=1 / 255)
    masks = model.decode(embedding, None, None, EACH, boxes=given["box"])
    assert largest(masks.low_resolution, output["masks_wholebox"]) < TOLERANCE
    assert largest(masks.predicted_iou, output["iou_wholebox"]) < TOLERANCE


@pytest.mark.parity
def test_both_outputs_of_the_mask_module(fixture):
    """The release has deep supervision, off; its coarser output is what this head would give."""
    model, given = released(fixture), fixture["input"]
    embedding = model.encode(given["image"] / 255)
    prompts = model.prompt_encoder(given["point_coords"], given["point_labels"])
    attended = model.mask_decoder.attend(embedding.features, model.prompt_encoder.grid_code(), *prompts)
    outputs = model.mask_decoder.pimm(embedding.layers, attended.image)
    for found, expected in zip(outputs, fixture["output"]["deep_supervision"], strict=True):
        assert largest(found, expected) < TOLERANCE


@pytest.mark.parity
@pytest.mark.parametrize(("size", "file"), [("vit_b", "desam"), ("vit_h", "desam_vit_h")])
def test_released_keys_and_shapes(size, file, reference):
    assert shapes(full("desam", 1024, size=size)) == dict(read_keys(reference(f"models/{file}.keys.json.gz")))


@pytest.mark.parity
def test_counts_of_the_reference(reference):
    facts = json.loads(reference("models/desam.json").read_text())
    found = {size: counts(full("desam", 1024, size=size)) for size in ("vit_b", "vit_l", "vit_h")}
    assert found == {
        "vit_b": (101_198_576, 11_521_444),
        "vit_l": (320_952_816, 12_668_324),
        "vit_h": (650_847_472, 13_815_204),
    }
    assert found["vit_h"] == (facts["params_total"]["vit_h (official)"], facts["params_trainable"]["vit_h"])


def test_the_excitation_is_one_half_whatever_its_weights():
    """Written out with the squeeze that the release computes: the mean behind a plain instance norm is zero."""
    torch.manual_seed(0)
    block, x = ResidualExcitation(20, 32).double(), torch.randn(2, 20, 6, 7, dtype=torch.float64)
    block.se.fc.apply(lambda layer: layer.weight.data.mul_(50) if isinstance(layer, nn.Linear) else None)
    inner = functional.leaky_relu(functional.instance_norm(block.conv1.conv(x), eps=EPS), SLOPE)
    inner = functional.instance_norm(block.conv2.conv(inner), eps=EPS)
    excitation = block.se.fc(inner.mean(dim=(2, 3))).sigmoid()[..., None, None]
    shortcut = functional.instance_norm(block.conv3.conv(x), eps=EPS)
    torch.testing.assert_close(block(x), functional.leaky_relu(inner * excitation + shortcut, SLOPE))
    block(x).sum().backward()
    assert all(layer.weight.grad is None for layer in block.se.fc if isinstance(layer, nn.Linear))


def test_norms_have_the_released_eps():
    model = build("desam", in_channels=1, out_channels=2, spatial_shape=(64, 64), **model_entry("desam").demo)
    for name, norm in model.named_modules():
        if isinstance(norm, nn.LayerNorm):
            in_decoder = name.startswith("mask_decoder.") and not isinstance(norm, ChannelNorm)
            assert norm.eps == (1e-5 if in_decoder else 1e-6), name
    assert (EPS, SLOPE) == (1e-5, 0.01)


def test_with_a_loss_of_the_iou_only_the_unread_parts_have_no_gradient():
    model = build("desam", in_channels=1, out_channels=2, spatial_shape=(64, 64), **model_entry("desam").demo)
    masks = model.decode(model.encode(torch.rand(1, 1, 64, 64)), torch.tensor([[[8.0, 9]]]), torch.ones(1, 1), EACH[:1])
    masks.logits.square().mean().add(masks.predicted_iou.sum()).backward()
    idle = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not any(".transformer." in name or ".iou_prediction_head." in name for name in idle)
    # Of the quality head's last layer, the first of four numbers is read.
    gradient = model.mask_decoder.iou_prediction_head.layers[-1].weight.grad
    assert gradient[0].any() and not gradient[1:].any()


def test_a_branch_that_would_be_too_narrow_is_an_input_error():
    with pytest.raises(InputError, match="16 channels at least, not 8"):
        build("desam", in_channels=1, out_channels=2, spatial_shape=(64, 64), size=SIZE | {"channels": 32})
