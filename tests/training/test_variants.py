"""Recipes that rows have beside their own: each takes steps with its network, and its augmentation builds."""

from __future__ import annotations

import pytest
import torch

from benchmark.catalog import load_catalog
from benchmark.data.augmentation import build_steps
from benchmark.models.registry import build_for_run
from benchmark.training.objectives import make_objective
from benchmark.training.optimisers import make_optimiser
from benchmark.training.schedules import learning_rate

CATALOG = load_catalog()
TARGET = CATALOG.target("table1_totalseg")
RUNS = sorted({run for row in TARGET.rows for runs in CATALOG.variant_runs(TARGET, row).values() for run in runs})


@pytest.mark.parametrize("run", RUNS)
def test_a_recipe_learns_with_its_network(run: str) -> None:
    config, published = CATALOG.run(run, "demo"), CATALOG.run(run).training
    torch.manual_seed(0)
    network = build_for_run(config, in_channels=1, out_channels=4)
    loss = make_objective(published.model_copy(update={"loss": config.training.loss}), [4])
    optimiser = make_optimiser(network, published.optimiser.model_copy(update={"learning_rate": 2e-4}))
    image, labels = torch.rand(1, 1, 32, 32, 32), torch.randint(0, 4, (1, 32, 32, 32))
    before = loss(network, image, labels, epoch=0)
    for _ in range(2):
        optimiser.zero_grad()
        loss(network, image, labels, epoch=0).backward()
        optimiser.step()
    assert loss(network, image, labels, epoch=0) < before


@pytest.mark.parametrize("run", RUNS)
def test_its_published_settings_fit_together(run: str) -> None:
    training = CATALOG.run(run).training
    assert len(build_steps(training.augmentation, patch=training.patch)) == len(training.augmentation) > 0
    steps = training.steps_per_epoch(1082)
    rates = [
        learning_rate(
            epoch * steps, training.schedule, base=training.optimiser.learning_rate, steps_per_epoch=steps,
            epochs=training.epochs,
        )
        for epoch in range(training.epochs)
    ]  # fmt: skip
    assert max(rates) == pytest.approx(training.optimiser.learning_rate) and min(rates[1:]) > 0
