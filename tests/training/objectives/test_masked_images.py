"""Masks and reconstruction losses of SimMIM and Swin-MAE, to the digit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmark.data.masks import block_mask, cell_mask
from benchmark.errors import InputError
from benchmark.settings import MaskedImages
from benchmark.training.objectives.masked_images import patches, reconstruction_loss

SIMMIM = MaskedImages(masking="cells", ratio=0.6, cell=32, token=4, error="l1")
SWIN_MAE = MaskedImages(masking="blocks", ratio=0.75, cell=16, token=4, error="mse")


@pytest.mark.parity
@pytest.mark.parametrize("row", range(12))
def test_simmims_masks(parity_around, row):
    facts = parity_around("mask_simmim")["masks"][row]
    cell, token = facts["mask_patch_size"], facts["model_patch_size"]
    settings = SIMMIM.model_copy(update={"ratio": facts["mask_ratio"], "cell": cell, "token": token})
    mask = cell_mask(facts["input_size"], settings, np.random.RandomState(facts["seed"]))
    assert np.array_equal(mask, facts["mask"])
    assert mask[:: cell // token, :: cell // token].sum() == facts["mask_count"]


@pytest.mark.parity
def test_simmims_masks_are_one_stream(parity_around):
    facts = parity_around("mask_simmim")
    generator = np.random.RandomState(facts["masks"][0]["seed"])
    masks = [cell_mask(192, SIMMIM, generator)[::8, ::8] for _ in range(4)]
    assert np.array_equal(np.stack(masks), facts["stream_192_32_4_06"])


@pytest.mark.parity
@pytest.mark.parametrize("row", range(4))
def test_swin_maes_masks(parity_around, row):
    facts = parity_around("mask_swin_mae")["cases"][row]
    settings = SWIN_MAE.model_copy(update={"ratio": facts["mask_ratio"], "cell": 4 * facts["r"]})
    mask = block_mask(facts["noise"], 4 * facts["side"], settings)
    assert torch.equal(mask.flatten(1).byte(), facts["mask"])
    assert mask.mean().item() == facts["masked_fraction"]


@pytest.mark.parity
@pytest.mark.parametrize("channels", [1, 3])
def test_simmims_loss(parity_around, channels):
    facts = parity_around("loss_simmim")["results"][f"channels_{channels}"]
    reconstruction = facts["reconstruction"].clone().requires_grad_()
    value = reconstruction_loss(facts["image"], reconstruction, facts["mask"], SIMMIM)
    value.backward()
    assert value.item() == pytest.approx(facts["value"], rel=2e-7)
    assert value.item() == pytest.approx(facts["value_tmi_eq11_reading"], rel=2e-7)
    assert reconstruction.grad.norm().item() == pytest.approx(facts["grad_norm"], rel=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize("normalise", [False, True])
def test_swin_maes_loss(parity_around, normalise):
    facts = parity_around("loss_swin_mae")
    expected = facts["results"][f"norm_pix_loss_{normalise}"]
    reconstruction = facts["unpatchified_prediction"].clone().requires_grad_()
    settings = SWIN_MAE.model_copy(update={"normalise_patches": normalise})
    value = reconstruction_loss(facts["image"], reconstruction, facts["mask"].view(2, 8, 8), settings)
    value.backward()
    assert value.item() == pytest.approx(expected["value"], rel=2e-7)
    assert reconstruction.grad.norm().item() == pytest.approx(expected["grad_norm"], rel=1e-6)
    torch.testing.assert_close(patches(reconstruction.grad, 4), expected["grad"], rtol=1e-4, atol=1e-8)


@pytest.mark.parity
def test_swin_maes_order_of_values(parity_around):
    facts = parity_around("loss_swin_mae")
    assert torch.equal(patches(facts["image"], 4), facts["target_patches"])
    assert torch.equal(patches(facts["unpatchified_prediction"], 4), facts["prediction"])


@pytest.mark.parametrize("settings", [SIMMIM, SWIN_MAE], ids=["l1", "mse"])
def test_only_what_is_hidden_counts(settings):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((2, 1, 32, 32), generator=generator)
    mask = torch.zeros(2, 8, 8)
    mask[0, 2, 3] = 1
    wrong = images.clone()
    wrong[0, 0, 8:12, 12:16] += 0.5
    hidden = reconstruction_loss(images, wrong, mask, settings)
    assert hidden.item() == pytest.approx(0.5 if settings.error == "l1" else 0.25, rel=1e-5)
    assert reconstruction_loss(images, wrong, 1 - mask, settings) == 0
    assert reconstruction_loss(images, wrong, torch.zeros_like(mask), settings) == 0


def test_what_does_not_fit_is_refused():
    images = torch.zeros(1, 1, 32, 32)
    with pytest.raises(InputError, match="do not fit"):
        reconstruction_loss(images, images, torch.zeros(1, 4, 4), SIMMIM)
    with pytest.raises(InputError, match="do not divide"):
        cell_mask(100, SIMMIM, np.random.default_rng(0))
    with pytest.raises(InputError, match="noise"):
        block_mask(torch.zeros(1, 5), 32, SWIN_MAE)
