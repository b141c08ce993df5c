"""Ours against MONAI's DiceCELoss in values and gradients, for every option; and hand-computed cases."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from monai.losses import DiceCELoss

from benchmark.errors import InputError
from benchmark.settings import Loss
from benchmark.training.objectives import dice_cross_entropy as objective
from benchmark.training.objectives.dice_cross_entropy import SegmentationLoss, dice_cross_entropy, downsampled

OPTIONS = list(itertools.product([True, False], repeat=3))


def _random_case(*, classes: int = 7, shape: tuple[int, ...] = (5, 6, 7), batch: int = 2, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn((batch, classes, *shape), generator=generator)
    labels = torch.randint(classes - 1, (batch, *shape), generator=generator)  # the last class is absent everywhere
    return logits, labels.to(torch.uint8)


@pytest.mark.parametrize(("include_background", "batch_dice", "squared"), OPTIONS)
@pytest.mark.parametrize(("numerator", "denominator"), [(1e-5, 1e-5), (0.0, 1e-6), (1.0, 1.0)])
@pytest.mark.parametrize("chunk", [17, 2**18], ids=["many chunks", "one chunk"])
def test_equals_monai(include_background, batch_dice, squared, numerator, denominator, chunk, monkeypatch):
    monkeypatch.setitem(objective.CHUNK_VALUES, "cpu", chunk)
    logits, labels = _random_case()
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    settings = Loss(
        dice=0.7,
        cross_entropy=1.3,
        include_background=include_background,
        batch_dice=batch_dice,
        squared_denominator=squared,
        smooth_numerator=numerator,
        smooth_denominator=denominator,
    )
    reference = DiceCELoss(
        softmax=True,
        to_onehot_y=True,
        include_background=include_background,
        batch=batch_dice,
        squared_pred=squared,
        smooth_nr=numerator,
        smooth_dr=denominator,
        lambda_dice=0.7,
        lambda_ce=1.3,
    )
    value, expected = SegmentationLoss(settings)(ours, labels), reference(theirs, labels[:, None].long())
    value.backward()
    expected.backward()
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5 * theirs.grad.abs().max().item())


def test_gradient_by_finite_differences():
    logits, labels = _random_case(classes=4, shape=(3, 2))
    # the function computes in float32, so steps and tolerances are those of float32
    assert torch.autograd.gradcheck(
        lambda values: dice_cross_entropy(values, labels, Loss(squared_denominator=True)).double(),
        logits.double().requires_grad_(),
        eps=1e-2,
        atol=1e-3,
    )


def test_a_perfect_prediction_costs_nothing_and_its_opposite_costs_the_margin():
    labels = torch.tensor([[0, 1, 1, 0]])
    right = torch.nn.functional.one_hot(labels, 2).movedim(-1, 1).float() * 200
    assert dice_cross_entropy(right, labels, Loss()).item() == pytest.approx(0, abs=1e-6)
    # Dice 1e-5/(4+1e-5) in both classes; cross-entropy 200 at every voxel, where exp(-200) is 0 in float32
    assert dice_cross_entropy(-right, labels, Loss()).item() == pytest.approx(1 + 200, abs=1e-4)


def test_uniform_prediction_by_hand():
    labels = torch.tensor([[0, 0, 0, 1]])
    expected = 1 - 0.5 * (2 * 1.5 / (2 + 3) + 2 * 0.5 / (2 + 1)) + math.log(2)
    assert dice_cross_entropy(torch.zeros(1, 2, 4), labels, Loss()).item() == pytest.approx(expected, abs=1e-5)


def test_half_precision_logits_get_half_precision_gradients_computed_in_float32():
    logits, labels = _random_case()
    half = logits.bfloat16().requires_grad_()
    full = half.detach().float().requires_grad_()
    dice_cross_entropy(half, labels, Loss()).backward()
    dice_cross_entropy(full, labels, Loss()).backward()
    assert half.grad.dtype == torch.bfloat16
    torch.testing.assert_close(half.grad, full.grad.bfloat16())


def test_deep_supervision_weighs_downsampled_comparisons_and_skips_weight_zero():
    logits, labels = _random_case(shape=(8, 8, 8))
    coarse, unused = logits[..., ::2, ::2, ::2], torch.full_like(logits[..., ::4, ::4, ::4], torch.nan)
    total = SegmentationLoss(Loss(deep_supervision=(0.6, 0.4, 0)))([logits, coarse, unused], labels)
    centres = labels[..., 1::2, 1::2, 1::2]  # nearest-exact, factor 2: voxel floor((i + 0.5) * 2)
    single = [dice_cross_entropy(logits, labels, Loss()), dice_cross_entropy(coarse, centres, Loss())]
    torch.testing.assert_close(total, 0.6 * single[0] + 0.4 * single[1])
    assert downsampled(labels, (8, 8, 8)) is labels


def test_outputs_and_weights_must_agree():
    logits, labels = _random_case()
    with pytest.raises(InputError, match="deep supervision") as raised:
        SegmentationLoss(Loss())([logits, logits], labels)
    assert "2 outputs" in str(raised.value)
    with pytest.raises(InputError, match="do not fit"):
        SegmentationLoss(Loss())(logits, labels[:, 1:])
