"""At the papers' scale, where nothing trains here: what a run's network gives is what its loss takes."""

from __future__ import annotations

import pytest
import torch

from benchmark.catalog import load_catalog
from benchmark.cost.meta import build_on_meta
from benchmark.datasets import get_dataset
from benchmark.models.registry import build_for_run

CATALOG = load_catalog()


def distinct_runs() -> list[str]:
    """One run for each network, dataset and number of supervised outputs."""
    found: dict[tuple, str] = {}
    for target in CATALOG.targets.values():
        for run in CATALOG.runs(target, scored=True):
            config = CATALOG.run(run)
            weights = config.training.loss.deep_supervision
            key = (config.model.name, str(config.model.options), config.dataset, weights and len(weights))
            found.setdefault(key, run)
    return list(found.values())


@pytest.mark.parametrize("run", distinct_runs())
def test_outputs_and_weights_of_the_loss_agree(run: str) -> None:
    config = CATALOG.run(run)
    dataset = get_dataset(config.dataset)
    channels, classes = len(dataset.channels), len(dataset.label_names) + 1
    network = build_on_meta(build_for_run, config, in_channels=channels, out_channels=classes)
    with torch.no_grad():
        output = network(torch.zeros((1, channels, *config.training.patch), device="meta"))
    outputs = list(output) if isinstance(output, (list, tuple)) else [output]
    assert len(outputs) == len(config.training.loss.deep_supervision or [1])
    fraction = 4 if config.training.loss.coarse_output else 1  # MedicalNet's head is at a quarter of the resolution
    assert outputs[0].shape == (1, classes, *(side // fraction for side in config.training.patch))
