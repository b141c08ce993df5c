"""AutoSAM against what its release computes: dense prompts, the frozen SAM, min-max scaling, several classes."""

from __future__ import annotations

import pytest
import torch
from helpers.released_facts import read_keys, shapes
from helpers.sam_facts import counts, full, largest
from torch import nn

from benchmark.errors import InputError
from benchmark.models.autosam import DEMO, AutoSAM, enlarge, min_max
from benchmark.models.layers.sam.network import standardise
from benchmark.models.registry import build

FIXTURE = DEMO | {"size": {**DEMO["size"], "width": 8, "depth": 1, "heads": 2, "global_blocks": (0,)}}
SMALL = {"in_channels": 1, "spatial_shape": (64, 96)} | DEMO
TOLERANCE = 1e-5


def small(classes: int = 1, seed: int = 0, **options) -> AutoSAM:
    torch.manual_seed(seed)
    return build("autosam", out_channels=classes + 1, **SMALL | options).eval()


@pytest.mark.parity
def test_the_released_network(parity):
    """The fixture has no image encoder: SAM's is tested with SAM."""
    fixture = parity("autosam")
    given, output = fixture["input"], fixture["output"]
    model = build("autosam", in_channels=3, out_channels=2, spatial_shape=(1024, 1024), **FIXTURE).eval()
    report = model.load_state_dict(fixture["state_dict"], strict=False)
    assert not report.unexpected_keys and all(".image_encoder." in key for key in report.missing_keys)
    image = given["image_small"].requires_grad_()
    prompts = model.model(image, model.sam.grid)
    assert largest(prompts[:, 0], output["dense_embedding"]) < TOLERANCE
    (gradient,) = torch.autograd.grad(prompts.square().mean(), image, retain_graph=True)
    assert gradient.norm().item() == pytest.approx(fixture["grad_norm_dense"], rel=1e-4)
    masks, iou = model.decode(given["sam_image_embedding"], prompts)
    assert largest(masks, output["low_res_masks"]) < TOLERANCE
    assert largest(iou, output["iou"]) < TOLERANCE
    assert largest(min_max(masks), output["min_max_normalised"]) < TOLERANCE
    (gradient,) = torch.autograd.grad(masks.square().mean(), image)
    assert gradient.norm().item() == pytest.approx(fixture["grad_norm"], rel=1e-4)


@pytest.mark.parity
def test_min_max_of_the_released_loss_and_decoding(parity_around):
    for given in (parity_around("loss_autosam"), parity_around("decode_outputs")["autosam"]):
        assert largest(min_max(given["logits"]), given["normalised"]) < 1e-6


def test_corners_of_a_mask_are_corners_of_the_image():
    ramp = torch.arange(8.0)[:, None] + 10 * torch.arange(8.0)
    enlarged = enlarge(ramp[None, None], (29, 29), (29, 15))
    assert enlarged.shape == (1, 1, 29, 15)
    expected = torch.arange(29)[:, None] / 4 + 10 * torch.arange(15) / 4
    torch.testing.assert_close(enlarged[0, 0], expected)


@pytest.mark.parity
def test_released_keys_shapes_and_counts(reference):
    model = full("autosam", 1024, size="vit_b")
    assert shapes(model) == dict(read_keys(reference("models/autosam.keys.json.gz")))
    found = {size: counts(full("autosam", 1024, size=size)) for size in ("vit_b", "vit_l", "vit_h")}
    assert found == {
        "vit_b": (135_293_772, 41_558_300),
        "vit_l": (353_901_132, 41_558_300),
        "vit_h": (682_648_908, 41_558_300),
    }
    assert counts(model.model.backbone)[0] == 35_389_212 and counts(model.model.decoder)[0] == 6_169_088


def test_what_nothing_reads():
    model = full("autosam", 1024)
    assert model.unused_parameters == (
        "model.backbone.base.16.*",
        "model.backbone.base.18.*",
        "model.decoder.final.BN2.*",
    )


def test_a_class_more_is_a_dense_prompt_more():
    added = counts(full("autosam", 256, classes=4))[0] - counts(full("autosam", 256, classes=2))[0]
    assert added == 2 * (256 * 256 * 9 + 256 + 2 * 256)  # of the last convolution and the norm that is not applied


def test_each_class_is_one_pass_of_the_released_network():
    three, images = small(classes=3), torch.rand(2, 1, 64, 96)
    logits = three(images)
    assert logits.shape == (2, 4, 64, 96) and not logits[:, 0].any()
    for number in range(3):
        one = small(seed=1)
        state, own = three.state_dict(), slice(32 * number, 32 * (number + 1))
        split = ("final.conv2.weight", "final.conv2.bias", *(f"final.BN2.{n}" for n in ("weight", "bias")),
                 *(f"final.BN2.running_{n}" for n in ("mean", "var")))  # fmt: skip
        one.load_state_dict({key: value[own] if key.endswith(split) else value for key, value in state.items()})
        torch.testing.assert_close(one(images)[:, 1], logits[:, 1 + number], rtol=1e-4, atol=1e-5)


def test_with_min_max_every_class_is_found_in_every_image():
    model, images = small(classes=2, min_max=True), torch.rand(2, 1, 64, 96)
    logits = model(images)
    assert not logits[:, 0].any()
    assert logits.min() >= -0.5 and logits.max() <= 0.5  # the ends are passed over where pixels are enlarged
    assert logits[:, 1:].amax(dim=(2, 3)).min() > 0.3


def test_statistics_are_applied_once_or_twice():
    images, seen = torch.rand(1, 1, 64, 96), []
    for twice in (False, True):
        model = small(statistics_twice=twice)
        for part in (model.model.backbone, model.sam.image_encoder):
            part.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
        model(images)
    encoder_once, encoder_twice = sorted((x for x in seen if x.shape[2:] == (64, 96)), key=lambda x: -x.std())
    torch.testing.assert_close(encoder_twice, standardise(encoder_once))
    contrast = encoder_once.std(dim=(2, 3)) / encoder_twice.std(dim=(2, 3))
    torch.testing.assert_close(contrast, torch.tensor([[58.395, 57.12, 57.375]]))
    prompts = [x for x in seen if x.shape[2:] == (85, 128)]
    assert len(prompts) == 2 and torch.equal(*prompts)


@pytest.mark.parity
def test_preparation_of_the_release(parity_around):
    """Its data set normalises and pads with zeros, and its SAM normalises all of that once more."""
    prepared = parity_around("prep_autosam")
    found = standardise(prepared["loader_image"][None])[0]
    assert largest(found, prepared["encoder_input_normalised_twice"]) < 1e-4
    small_image = nn.functional.interpolate(
        prepared["loader_image"][None], (32, 32), mode="bilinear", align_corners=True
    )[0]
    assert largest(small_image, prepared["prompt_network_input"]) < 1e-5


def test_sam_is_frozen_and_passes_gradients_on():
    model = small(train_decoder=False).train()
    assert not any(p.requires_grad for p in model.sam.parameters())
    model(torch.rand(2, 1, 64, 96))[:, 1].square().mean().backward()
    assert model.model.decoder.final.conv2.weight.grad.any()


def test_norms_have_the_released_eps():
    norms = [m for m in small().model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-5, 0.1)}


def test_without_a_class_there_is_nothing_to_ask_for():
    with pytest.raises(InputError, match="one class at least"):
        build("autosam", out_channels=1, **SMALL)
