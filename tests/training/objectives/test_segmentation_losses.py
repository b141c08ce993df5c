"""Segmentation losses of the releases, to the digit: values, gradients, and labels at smaller outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.tiny import tiny_config
from scipy import ndimage
from torch.nn.functional import cross_entropy

from benchmark.errors import InputError
from benchmark.settings import Loss
from benchmark.training.objectives import make_objective
from benchmark.training.objectives.dice_cross_entropy import (
    SegmentationLoss,
    dice_cross_entropy,
    downsampled,
    output_weights,
)
from benchmark.training.objectives.segmentation import own_classes

pytestmark = pytest.mark.parity
VALUE, GRADIENT = {"rel": 2e-7, "abs": 2e-7}, {"rel": 1e-6, "abs": 1e-10}
BATCHWISE = {"batch_dice": True, "squared_denominator": True}


def measure(function, *inputs: torch.Tensor) -> tuple[float, list[torch.Tensor]]:
    """Value of a loss of these inputs, and its gradients."""
    leaves = [value.clone().requires_grad_() for value in inputs]
    value = function(*leaves)
    value.backward()
    return value.item(), [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]


def check(loss: Loss, logits: torch.Tensor, labels: torch.Tensor, expected: dict) -> None:
    value, (gradient,) = measure(lambda outputs: SegmentationLoss(loss)(outputs, labels), logits)
    assert value == pytest.approx(expected["value"], **VALUE)
    assert gradient.norm().item() == pytest.approx(expected["grad_norm"], **GRADIENT)
    torch.testing.assert_close(gradient, expected["grad"], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("share", [0.8, 0.5])
def test_samed(parity_around, share):
    facts = parity_around("loss_samed")
    loss = Loss(dice=share, cross_entropy=1 - share, **BATCHWISE)
    check(loss, facts["logits"], facts["label"], facts["results"][f"dice_weight_{share}"])


@pytest.mark.parametrize(
    ("result", "logits", "label"),
    [
        ("full_size_used_in_training", "masks", "label"),
        ("low_res_defined_but_unused", "low_res_logits", "label_low_res"),
    ],
)
def test_e_sam(parity_around, result, logits, label):
    facts = parity_around("loss_e_sam")
    check(Loss(dice=0.8, cross_entropy=0.2, **BATCHWISE), facts[logits], facts[label], facts["results"][result])


@pytest.mark.parametrize("release", ["TransUNet", "SwinUnet"])
def test_transunet_and_swin_unet(parity_around, release):
    facts = parity_around("loss_transunet_swinunet")
    expected = facts["results"][release]
    shares = dict(zip(("cross_entropy", "dice"), expected["weights"], strict=True))
    check(Loss(**shares, **BATCHWISE), facts["logits"], facts["label"], expected)


def test_the_other_autosam(parity_around):
    facts = parity_around("loss_autosam")["other_method_xhu248"]
    loss = Loss(include_background=False, smooth_numerator=1, smooth_denominator=1, **BATCHWISE)
    check(loss, facts["logits"], facts["label"], facts["results"])


@pytest.mark.parametrize("row", range(7))
def test_h_sams_stages_change_places_by_epoch(parity_around, row):
    facts = parity_around("loss_h_sam")
    expected = facts["results"][row]
    weights = output_weights(Loss(rising=(0.6, 0.99)), expected["epoch"])
    assert weights[0] == pytest.approx(expected["weight_stage2"], rel=1e-12) and sum(weights) == 1
    loss = Loss(dice=0.9, cross_entropy=0.1, **BATCHWISE)

    def both(fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        stages = (
            dice_cross_entropy(fine, facts["label"], loss),
            dice_cross_entropy(coarse, facts["label_low_res"], loss),
        )
        return weights[0] * stages[0] + weights[1] * stages[1]

    value, gradients = measure(both, facts["logits_stage2"], facts["logits_stage1"])
    assert value == pytest.approx(expected["value"], **VALUE)
    norms = [gradient.norm().item() for gradient in gradients]
    assert norms == pytest.approx([expected["grad_norm_stage2"], expected["grad_norm_stage1"]], **GRADIENT)


def test_h_sams_weights_in_the_objective(parity_around):
    facts = parity_around("loss_h_sam")
    stages, labels = [facts["logits_stage2"], facts["logits_stage1"]], facts["label"]
    loss = Loss(rising=(0.6, 0.99), labels_at_outputs="zoom0")
    fine, coarse = (
        dice_cross_entropy(logits, downsampled(labels, logits.shape[2:], "zoom0"), Loss()) for logits in stages
    )
    weight = facts["results"][3]["weight_stage2"]
    torch.testing.assert_close(SegmentationLoss(loss)(stages, labels, epoch=50), weight * fine + (1 - weight) * coarse)


@pytest.mark.parametrize("network", ["swin_umamba", "swin_umamba_dagger"])
@pytest.mark.parametrize("batch_dice", [True, False])
def test_nnunets_deep_supervision(parity_around, network, batch_dice):
    """nnU-Net's Dice term is -Dice, ours 1 - Dice: the sum of the weights, 1, lies between the values."""
    facts = parity_around("loss_nnunet_deep_supervision")
    expected, data = facts["results"][f"{network}_batch_dice_{batch_dice}"], facts["data"][network]
    loss = Loss(include_background=False, batch_dice=batch_dice)
    targets = [target[:, 0].long() for target in data["targets"]]

    def weighted(*outputs: torch.Tensor) -> torch.Tensor:
        terms = [dice_cross_entropy(output, target, loss) for output, target in zip(outputs, targets, strict=True)]
        assert [term.item() - 1 for term in terms] == pytest.approx(expected["per_output"], rel=1e-6)
        return sum(weight * term for weight, term in zip(expected["weights"], terms, strict=True))

    value, gradients = measure(weighted, *data["logits"])
    assert value - 1 == pytest.approx(expected["value"], rel=3e-7)
    assert [gradient.norm().item() for gradient in gradients] == pytest.approx(expected["grad_norm"], **GRADIENT)
    single = dice_cross_entropy(data["logits"][0], targets[0], loss).item()
    assert single - 1 == pytest.approx(expected["no_deep_supervision"], rel=3e-7)


@pytest.mark.parametrize("network", ["swin_umamba", "swin_umamba_dagger"])
def test_nnunets_targets(parity_around, network):
    facts = parity_around("targets_deep_supervision")
    for expected in facts["results"][network]["targets"]:
        assert torch.equal(downsampled(facts["target"][:, 0], expected.shape[2:]), expected[:, 0])


@pytest.mark.parametrize("part", ["train", "validation"])
def test_m4oe(parity_around, part):
    facts = parity_around("loss_m4oe")
    expected, labels = facts["results"][part], facts["label"].long()
    shares = dict(zip(("cross_entropy", "dice"), expected["weights"], strict=True))
    loss = Loss(squared_denominator=True, ignore=-1, **shares)
    value, (gradient,) = measure(
        lambda logits: own_classes(logits, labels, facts["n_classes"], loss), facts["padded_logits"]
    )
    assert value == pytest.approx(expected["value"], **VALUE)
    assert gradient.norm().item() == pytest.approx(expected["grad_norm"], **GRADIENT)
    torch.testing.assert_close(gradient, expected["grad"], rtol=1e-4, atol=1e-8)


def test_m4oes_terms(parity_around):
    facts = parity_around("loss_m4oe")
    for sample, expected in enumerate(facts["per_sample"]):
        logits = facts["padded_logits"][sample : sample + 1, : facts["n_classes"][sample]]
        labels = facts["label"][sample : sample + 1].long()
        for term, weights in (("ce", {"dice": 0}), ("dice", {"cross_entropy": 0})):
            loss = Loss(squared_denominator=True, ignore=-1, **weights)
            assert dice_cross_entropy(logits, labels, loss).item() == pytest.approx(expected[term], **VALUE)


def test_an_ignored_label_can_be_any_number():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 3, 8, 8), generator=generator)
    labels = torch.randint(3, (2, 8, 8), generator=generator)
    labels[:, :2] = 255
    before = labels.clone()
    value = dice_cross_entropy(logits, labels, Loss(dice=0, ignore=255))
    torch.testing.assert_close(value, cross_entropy(logits, labels, ignore_index=255))
    assert torch.equal(labels, before)
    stored = labels.to(torch.uint8)
    torch.testing.assert_close(dice_cross_entropy(logits, stored, Loss(dice=0, ignore=255)), value)


@pytest.mark.parametrize("stores", [1, 2])
def test_what_nobody_labelled_has_no_loss(stores):
    """A data set's ignore label reaches the loss of every training that reads it, if the recipe names none itself."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 3, 8, 8), generator=generator, requires_grad=True)
    labels = torch.randint(3, (2, 8, 8), generator=generator).to(torch.uint8)
    labels[:, :2] = 255
    training = tiny_config(training={"loss": {"batch_dice": False}}).training
    batch = (torch.zeros(2, 1, 8, 8), labels, torch.tensor([0, stores - 1]))[: 2 + (stores > 1)]
    value = make_objective(training, (3,) * stores, 255)(lambda *_: logits, *batch, epoch=0)
    value.backward()
    assert not logits.grad[:, :, :2].any() and logits.grad[:, :, 2:].all()
    torch.testing.assert_close(value, dice_cross_entropy(logits[:, :, 2:], labels[:, 2:], training.loss))
    assert dice_cross_entropy(logits, torch.full_like(labels, 255), Loss(ignore=255, ignored_mass=False)).item() == 0
    recipe = training.model_copy(update={"loss": training.loss.model_copy(update={"ignore": 2})})
    assert make_objective(recipe, (3,), 255).loss.loss.ignore == 2


def test_classes_that_do_not_fit_are_refused():
    logits, labels = torch.zeros(2, 4, 5), torch.zeros(2, 5, dtype=torch.long)
    with pytest.raises(InputError, match="classes and logits"):
        own_classes(logits, labels, [5, 2], Loss())
    with pytest.raises(InputError, match="classes and logits"):
        own_classes(logits, labels, [2], Loss())
    with pytest.raises(InputError, match="no common Dice"):
        own_classes(logits, labels, [2, 2], Loss(batch_dice=True))


@pytest.mark.parametrize(("shape", "size"), [((24, 24), (6, 6)), ((30, 16), (8, 59)), ((5, 7), (5, 7))])
def test_labels_at_outputs_by_scipys_zoom(shape, size):
    """30 → 8 and 16 → 59 are among the sizes where scipy fills the last row: rounding takes it over the border."""
    labels = np.random.default_rng(0).integers(1, 9, (2, *shape))
    factors = [after / before for before, after in zip(shape, size, strict=True)]
    ours = downsampled(torch.from_numpy(labels), size, "zoom0")
    assert np.array_equal(ours, np.stack([ndimage.zoom(image, factors, order=0) for image in labels]))


def test_low_resolution_labels_of_the_releases(parity_around):
    facts = parity_around("augment_slices")
    for release in ("SAMed", "E-SAM"):
        for sample in facts["results"][release]:
            ours = downsampled(sample["label"][None], (facts["low_res"],) * 2, "zoom0")[0]
            assert torch.equal(ours, sample["low_res_label"])
