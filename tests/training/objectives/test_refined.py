"""SAM-Med2D's rounds: points where the mask is wrong, what each is asked by, what learns, and in how many steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny import tiny_config
from torch.utils.data import Dataset

from benchmark.data.prompts import error_points
from benchmark.errors import InputError
from benchmark.models.layers.sam.sizes import DEMO_SIZE
from benchmark.models.registry import build
from benchmark.settings import RunConfig
from benchmark.training.checkpoints import Checkpoints
from benchmark.training.loop import Machine, TrainingLoop
from benchmark.training.objectives import make_objective
from benchmark.training.objectives.refined import RefinedPrompts
from benchmark.training.processes import start_processes

SIDE, BATCH = 64, 4


def config(**refinement) -> RunConfig:
    loss = {"dice_over": "batch", "smooth_numerator": 1, "smooth_denominator": 1, "cross_entropy": 0, "focal": 20,
            "quality": "soft_iou"}  # fmt: skip
    training = {
        "patch": (SIDE, SIDE),
        "batch": BATCH,
        "epochs": 1,
        "iterations_per_epoch": 2,
        "optimiser": {"name": "adam", "learning_rate": 1e-4},
        "schedule": {"name": "constant"},
        "sampling": {"strategy": "whole"},
        "objective": "prompted",
        "prompted": {"loss": loss, "refinement": refinement},
        "clip_norm": None,
    }
    return tiny_config(training=training)


class Discs(Dataset):
    """Bright discs on which a point is given, and the seed and number of each sample."""

    def __len__(self) -> int:
        return 2 * BATCH

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        rows, columns = np.indices((SIDE, SIDE))
        mask = (rows - 20 - 4 * index) ** 2 + (columns - 30) ** 2 < 100
        image = torch.from_numpy(mask[None].astype(np.float32))
        point = torch.tensor([[30.0, 20.0 + 4 * index]])
        return image, image[0].clone(), point, torch.tensor([1]), torch.tensor([5, index])


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build("sam_med2d", in_channels=1, out_channels=2, spatial_shape=(SIDE, SIDE), size=DEMO_SIZE)


def batch(*numbers: int) -> list[torch.Tensor]:
    return [torch.stack(parts) for parts in zip(*(Discs()[number] for number in numbers), strict=True)]


@pytest.mark.parity
def test_error_points_equal_those_of_the_release(parity_around):
    facts = parity_around("prompt_points")["methods"]["SAM-Med2D_error_points"]
    predicted, reference = (np.zeros((facts["grid"],) * 2, bool) for _ in range(2))
    predicted[tuple(facts["prediction_box_pixels"].numpy())] = True
    reference[tuple(facts["reference_pixels"].numpy())] = True
    for case in facts["cases"]:
        right = "what" in case
        found = error_points(reference if right else predicted, reference, case["point_num"],
                             np.random.RandomState(case["seed"]))  # fmt: skip
        np.testing.assert_array_equal(found[1], case["labels"][0])
        if not right:  # else they are no points, wherever they lie
            np.testing.assert_array_equal(found[0], case["points"][0])


def test_what_each_round_is_asked_by():
    objective = RefinedPrompts(config().training)
    objective(network(), *batch(0, 1, 2, 3), epoch=0)
    (answered,) = objective._answers
    asked = [objective.prompts(answered, number) for number in range(8)]
    alone = [number for number, (points, _) in enumerate(asked) if points is None]
    assert len(alone) == 2 and alone[1] == 7 and 1 <= alone[0] <= 6
    wrong = (answered.logits[:, 0] > 0) != (answered.masks > 0)
    for points, labels in asked:
        if points is None:
            continue
        assert points.shape[:2] == labels.shape and labels.shape[1] in (1, 3, 5, 9)
        for image, (places, kinds) in enumerate(zip(points.long(), labels, strict=True)):
            for (x, y), kind in zip(places.tolist(), kinds.tolist(), strict=True):
                assert wrong[image, y, x] and kind == answered.masks[image, y, x]


def test_draws_do_not_depend_on_how_a_step_is_split():
    whole, split = (RefinedPrompts(config().training) for _ in range(2))
    whole(network(), *batch(0, 1, 2, 3), epoch=0)
    for numbers in ((0, 1), (2, 3)):
        split(network(), *batch(*numbers), epoch=0)
    for number in range(8):
        points, labels = whole.prompts(whole._answers[0], number)
        parts = [split.prompts(answered, number) for answered in split._answers]
        if points is None:
            assert parts == [(None, None)] * 2
        else:
            assert torch.equal(points, torch.cat([part[0] for part in parts]))
            assert torch.equal(labels, torch.cat([part[1] for part in parts]))


def test_after_the_first_round_the_decoder_alone_learns():
    objective, model = RefinedPrompts(config().training), network()
    objective(model, *batch(0, 1, 2, 3), epoch=0).backward()
    assert any(one.grad is not None for name, one in model.named_parameters() if "Adapter" in name)
    for number in (0, 7):
        model.zero_grad(set_to_none=True)
        before = objective._answers[0]
        objective.again(model, 0, number).backward()
        learning = {name.partition(".")[0] for name, one in model.named_parameters() if one.grad is not None}
        assert learning == {"mask_decoder"}
        after = objective._answers[0]
        assert torch.equal(after.embedding[0], before.embedding[0]) and not torch.equal(after.logits, before.logits)


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_every_round_is_an_optimiser_step_and_the_quality_head_learns(tmp_path: Path, micro_batch):
    run = config(rounds=3, points=[1, 3])
    model = network()
    before = model.mask_decoder.iou_prediction_head.layers[0].weight.clone()
    loop = TrainingLoop(
        start_processes(run.training),
        run,
        model,
        Discs(),
        steps_per_epoch=2,
        folder=tmp_path,
        checkpoints=Checkpoints(tmp_path / "checkpoints", identity={}, details={}),
        objective=make_objective(run.training, (2,)),
        machine=Machine(micro_batch=micro_batch),
    )
    assert loop.run()
    adapter = next(one for name, one in model.named_parameters() if "Adapter" in name)
    steps = [int(loop.optimiser.state[one]["step"]) for one in (model.mask_decoder.mask_tokens.weight, adapter)]
    assert steps == [2 * 4, 2]  # the decoder's in every round, the adapter's in the first
    assert not torch.equal(model.mask_decoder.iou_prediction_head.layers[0].weight, before)


def test_refinement_has_to_be_asked_for():
    training = config().training
    plain = training.model_copy(update={"prompted": training.prompted.model_copy(update={"refinement": None})})
    assert not hasattr(make_objective(plain, (2,)), "further_rounds")
    with pytest.raises(InputError, match="nothing says how prompts are refined"):
        RefinedPrompts(plain)
