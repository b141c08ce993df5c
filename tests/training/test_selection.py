"""Selection of weights by M4oE's validation loss: against the release's own loop, and within a training."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from helpers.tiny import CASES, CLASSES, TinySamples, make_loop, tiny_config
from safetensors.torch import load_file
from torch import nn

from benchmark.errors import InputError
from benchmark.settings import Loss, Selection
from benchmark.training.checkpoints import write_weights
from benchmark.training.objectives import make_objective
from benchmark.training.objectives.segmentation import own_classes
from benchmark.training.selection import Selector, validation_loss

SELECTION = Selection()
CPU = torch.device("cpu")


class AsGiven(nn.Module):
    """Gives what it is given, and notes whether it was in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[bool] = []

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.training)
        return logits


@pytest.mark.parity
def test_the_loss_and_the_modes_are_those_of_the_released_loop(parity_around):
    facts = parity_around("validation_m4oe")
    loss = Loss(
        dice=SELECTION.dice,
        cross_entropy=SELECTION.cross_entropy,
        squared_denominator=True,
        include_background=True,
        ignore=-1,
    )

    def objective(network: nn.Module, *batch: torch.Tensor, epoch: int) -> torch.Tensor:
        logits, labels = batch
        return own_classes(network(logits), labels, [logits.shape[1]] * len(logits), loss)

    size, network = facts["batch_size"], AsGiven()
    batches = list(zip(facts["logits"].split(size), facts["labels"].split(size), strict=True))
    for count, expected in enumerate(facts["running_val_loss_first_evaluation"], start=1):
        assert validation_loss(AsGiven(), iter(batches[:count]), objective, epoch=0) == pytest.approx(
            expected, abs=1e-5
        )
    found = validation_loss(network, iter(batches), objective, epoch=0)
    assert found == pytest.approx(facts["val_loss_used_for_selection"], abs=1e-5)
    assert found > 2 * facts["plain_mean_of_samples"]
    assert network.modes == facts["network_training_mode_validation_batches"] and network.training


@pytest.mark.parity
def test_without_gain_a_training_is_as_long_as_the_released_one(parity_around):
    facts = parity_around("validation_m4oe")
    selector = scripted(SELECTION, [1.0] * 100)
    epochs = 0
    while not selector.is_over:
        if selector.is_due(epochs):
            selector.take(selector.measure(nn.Identity(), CPU, epoch=epochs), nn.Identity(), step=epochs)
        epochs += 1
    assert (selector.looks, epochs) == (facts["evaluations_run"], facts["epochs_trained"])
    assert selector.step == 0


def scripted(settings: Selection, losses: list[float]) -> Selector:
    """A selector to which each look gives the next of some losses."""
    remaining = iter(losses)

    def objective(network: nn.Module, *batch: torch.Tensor, epoch: int) -> torch.Tensor:
        return torch.tensor(next(remaining))

    return Selector(settings, TinySamples(1), count=2, batch=2, objective=objective)


def constant(**training) -> dict:
    """Steps that do not depend on how many follow."""
    return {"schedule": {"name": "constant"}, **training}


def test_the_network_ends_with_the_weights_of_the_lowest_loss(tmp_path):
    settings = Selection(interval=2, patience=2)
    config = tiny_config(training=constant(selection=settings))
    selector = scripted(settings, [3.0, float("nan"), 1.0, 2.0, 1.0, 0.0])
    loop = make_loop(tmp_path / "selected", config, TinySamples(7), dropout=0.0, selector=selector)
    assert loop.run()
    per_epoch = config.training.steps_per_epoch(CASES)
    assert (
        selector.step == 5 * per_epoch and loop.checkpoints.steps()[-1] == 9 * per_epoch
    )  # looks: epochs 0, 2, 4, 6, 8
    plain = tiny_config(training=constant(epochs=5))
    other = make_loop(tmp_path / "plain", plain, TinySamples(7), dropout=0.0)
    assert other.run()
    for name, value in other.network.module.state_dict().items():
        assert torch.equal(value, loop.network.module.state_dict()[name]), name
    with (tmp_path / "selected/selection.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["epoch"], row["kept"]) for row in rows] == [("0", "1"), ("2", "0"), ("4", "1"), ("6", "0"), ("8", "0")]


class StopAt:
    """Asks to stop once, at the step that a checkpoint does not fall on."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def __bool__(self) -> bool:
        self.looks -= 1
        return self.looks == 0


def train(folder: Path, *, stop: StopAt | None = None) -> bool:
    settings = Selection(interval=1, patience=3)
    config = tiny_config(training=constant(selection=settings, optimiser={"name": "sgd", "learning_rate": 2.0}))
    weights = {"dice": settings.dice, "cross_entropy": settings.cross_entropy}
    measured = config.training.model_copy(update={"loss": config.training.loss.model_copy(update=weights)})
    objective = make_objective(measured, (CLASSES,))
    selector = Selector(settings, TinySamples(99), count=3, batch=2, objective=objective)
    loop = make_loop(folder, config, TinySamples(7), selector=selector, stop=stop)
    finished = loop.run()
    if finished:
        write_weights(folder / "final.safetensors", loop.network.module)
    return finished


def test_a_stopped_training_selects_as_the_undisturbed_one(tmp_path):
    """With dropout: looks in training mode use up random numbers, which the training goes on with."""
    assert train(tmp_path / "whole")
    assert not train(tmp_path / "parts", stop=StopAt(4)) and train(tmp_path / "parts")
    assert train(tmp_path / "parts")  # finished: nothing is trained, the same weights are chosen again
    whole, parts = (load_file(tmp_path / name / "final.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    texts = [(tmp_path / name / "selection.csv").read_text() for name in ("whole", "parts")]
    assert texts[0] == texts[1] and len(texts[0].splitlines()) > 3


def test_without_validation_samples_nothing_is_selected():
    with pytest.raises(InputError, match="without validation samples"):
        Selector(SELECTION, TinySamples(1), count=0, batch=2, objective=make_objective(tiny_config().training, (3,)))
