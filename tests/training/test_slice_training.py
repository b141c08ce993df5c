"""A 2-D network trained on volumes by the real loop: steps, validation and weights by epoch."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from helpers.tiny import tiny_config
from torch import nn

from benchmark.data.sampling import PatchDataset
from benchmark.data.store import PreparedStore
from benchmark.lineage import training_settings
from benchmark.training.checkpoints import Checkpoints
from benchmark.training.loop import TrainingLoop
from benchmark.training.processes import start_processes
from benchmark.training.randomness import seed_everything
from benchmark.training.validation import Validator


@pytest.fixture
def store(tmp_path) -> PreparedStore:
    """Two volumes with a bright box on four of seven slices."""
    cases = {}
    for number in range(2):
        labels = np.zeros((18, 14, 7), np.uint8)
        labels[4:12, 3:9, 2:6] = 1
        noise = np.random.default_rng(number).normal(0, 0.1, labels.shape)
        cases[f"v{number}"] = (labels[None] + noise, labels, {})
    return PreparedStore.create(tmp_path / "store", cases, label_names=["box"], planes=2)


class TwoOutputs(nn.Module):
    """A pixel-wise network with a second output at half the size."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        fine = self.layers(image)
        return [fine, nn.functional.avg_pool2d(fine, 2)]


def train(folder, store: PreparedStore, strategy: str, **sampling) -> list[dict[str, str]]:
    config = tiny_config(
        training={
            "patch": (16, 12),
            "batch": 4,
            "epochs": 8,
            "validation_interval": 4,
            "loss": {"rising": (0.6, 0.99), "labels_at_outputs": "zoom0", "ignore": 9},
            "schedule": {"name": "poly", "granularity": "step", "warmup_steps": 5, "set_after_step": True},
            "sampling": {"strategy": strategy, **sampling},
        }
    )
    processes = start_processes(config.training)
    seed_everything(config.seed)
    samples = PatchDataset(store, ["v0"], config.training, config.seed)
    loop = TrainingLoop(
        processes,
        config,
        TwoOutputs(),
        samples,
        steps_per_epoch=samples.steps_per_epoch,
        folder=folder,
        checkpoints=Checkpoints(folder / "checkpoints", identity=training_settings(config), details={"run": "tiny"}),
        validate=Validator(store, ["v1"], config.training),
    )
    assert loop.run()
    assert len((folder / "log.csv").read_text().splitlines()) == 1 + 8 * samples.steps_per_epoch
    with (folder / "validation.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("sampling", "steps"),
    [
        ({"strategy": "whole", "slices": "all"}, 2),  # 7 slices in batches of 4
        ({"strategy": "whole", "slices": "foreground", "resize": {"image": "zoom3", "labels": "zoom0"}}, 1),
        ({"strategy": "foreground_voxel"}, 1),  # one volume
    ],
)
def test_a_flat_network_learns_and_is_validated_on_volumes(tmp_path, store, sampling, steps):
    rows = train(tmp_path / "run", store, **sampling)
    assert [int(row["step"]) for row in rows] == [4 * steps - 1, 8 * steps - 1]
    assert 0 <= float(rows[0]["mean_dice"]) <= 1
    if steps == 2:
        assert float(rows[1]["mean_dice"]) > 0.5
