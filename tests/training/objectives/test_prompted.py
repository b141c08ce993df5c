"""Losses of one mask per prompt, as settings, to the digit of each release."""

from __future__ import annotations

import pytest
import torch

from benchmark.errors import InputError
from benchmark.settings import PromptedLoss
from benchmark.training.objectives.prompted import focal_loss, min_max, prompted_loss, soft_dice_loss

MEDSAM = PromptedLoss(squared_denominator=True)
DICE_ALONE = PromptedLoss(squared_denominator=True, cross_entropy=0)  # MONAI 1.1.0: soft-max over one channel is 1
SAMUS = PromptedLoss(dice=0.8, cross_entropy=0.2, positive_weight=2, dice_over="batch", squared_denominator=True)
MSA = PromptedLoss(dice=0, positive_weight=2)
SAM_MED2D = PromptedLoss(
    dice_over="batch", smooth_numerator=1, smooth_denominator=1, cross_entropy=0, focal=20, quality="soft_iou"
)
# Tversky with 0.5, 0.5 and a smoothing of 1 is the Dice with one of 2
AUTOSAM = PromptedLoss(probability="min_max", smooth_numerator=2, smooth_denominator=2)

CASES = {  # fixture, settings, logits, target, where the expected numbers are
    "medsam": ("loss_medsam", MEDSAM, "logits", "target", ("results",)),
    "samus": ("loss_samus", SAMUS, "logits", "target", ("samus",)),
    "samus, image and class": ("loss_samus", SAMUS, "logits_5d", "target_5d", ("samus_5d",)),
    "msa in samus": ("loss_samus", MSA, "logits", "target", ("msa_as_wrapped_by_samus",)),
    "msa": ("loss_msa", MSA, "logits", "target", ("two_d",)),
    "msa, classes": ("loss_msa", MSA, "logits_multi", "target_multi", ("two_d_multi",)),
    "msa 3-D": ("loss_msa", MEDSAM, "logits", "target", ("three_d",)),
    "msa 3-D, pinned": ("loss_msa", DICE_ALONE, "logits", "target", ("pinned_monai_1.1.0", "three_d")),
    "desam": ("loss_desam", MEDSAM, "logits", "target", ("whole_box_mode",)),
    "desam, pinned": ("loss_desam", DICE_ALONE, "logits", "target", ("pinned_monai_1.1.0", "whole_box_mode")),
    "sam_med2d": ("loss_sam_med2d", SAM_MED2D, "logits", "target", ("results",)),
    "autosam": ("loss_autosam", AUTOSAM, "logits", "target_16", ("results",)),
}  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_of_the_release(parity_around, case):
    name, loss, logits, target, path = CASES[case]
    facts = expected = parity_around(name)
    for key in path:
        expected = expected[key]
    values, masks = facts[logits], facts[target]
    if values.dim() == 5:
        values, masks = values.flatten(0, 1), masks.flatten(0, 1)
    values = values.clone().requires_grad_()
    value = prompted_loss(values, masks, loss, quality=facts.get("predicted_iou"))
    value.backward()
    assert value.item() == pytest.approx(expected["value"], rel=2e-7)
    tolerance = 1e-3 if case == "autosam" else 1e-6  # there the range's own gradient is ill-conditioned in float32
    assert values.grad.norm().item() == pytest.approx(expected["grad_norm"], rel=tolerance)
    if "grad" in expected and case != "autosam":
        torch.testing.assert_close(values.grad, expected["grad"].view_as(values), rtol=1e-4, atol=1e-7)


@pytest.mark.parity
def test_sam_med2ds_terms(parity_around):
    facts = parity_around("loss_sam_med2d")
    probabilities, expected = facts["logits"].sigmoid(), facts["results"]
    assert focal_loss(probabilities, facts["target"], SAM_MED2D).item() == pytest.approx(expected["focal"], rel=1e-6)
    assert soft_dice_loss(probabilities, facts["target"], SAM_MED2D).item() == pytest.approx(expected["dice"], rel=1e-6)
    quality = facts["predicted_iou"].clone().requires_grad_()
    prompted_loss(facts["logits"], facts["target"], SAM_MED2D, quality=quality).backward()
    assert quality.grad.norm().item() == pytest.approx(expected["grad_norm_iou"], rel=1e-6)


@pytest.mark.parity
def test_autosams_range(parity_around):
    facts = parity_around("loss_autosam")
    assert torch.equal(min_max(facts["logits"]), facts["normalised"])


def test_by_hand():
    logits, masks = torch.tensor([[[0.0, 0.0]], [[0.0, 0.0]]]), torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])
    plain = {"cross_entropy": 0, "smooth_numerator": 0, "smooth_denominator": 1}
    assert prompted_loss(logits, masks, PromptedLoss(**plain)).item() == pytest.approx(1 - (1 / 3 + 0) / 2)
    together = PromptedLoss(dice_over="batch", **plain)
    assert prompted_loss(logits, masks, together).item() == pytest.approx(1 - 1 / (2 + 1 + 1))


@pytest.mark.parametrize(("error", "value"), [("l1", (0.2 + 0.3) / 2), ("mse", (0.2**2 + 0.3**2) / 2)])
def test_the_error_of_the_predicted_quality_by_hand(error, value):
    """One half of each of four pixels is predicted, and one of them is foreground: a soft IoU of 0.5 / 2.5 = 0.2."""
    loss = PromptedLoss(dice=0, cross_entropy=0, quality="soft_iou", quality_error=error)
    masks = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])
    found = prompted_loss(torch.zeros(2, 1, 2), masks, loss, quality=torch.tensor([[0.4], [0.5]]))
    assert found.item() == pytest.approx(value, rel=1e-6)


def test_what_does_not_fit_is_refused():
    logits = torch.zeros(2, 1, 4, 4)
    with pytest.raises(InputError, match="differ in shape"):
        prompted_loss(logits, torch.zeros(2, 4, 4), MEDSAM)
    with pytest.raises(InputError, match="quality"):
        prompted_loss(logits, logits, SAM_MED2D)
