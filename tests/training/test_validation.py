"""Validation Dice against the whole volume computed at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.tiny import tiny_config
from torch import nn

from benchmark.data.store import PreparedStore
from benchmark.training.validation import Validator


class Threshold(nn.Module):
    """Labels every voxel by its own intensity, so that the tiling cannot matter."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([-((image - level) ** 2) for level in range(3)], dim=1)


@pytest.fixture
def store(tmp_path) -> PreparedStore:
    generator = np.random.default_rng(0)
    cases = {}
    for case, shape in {"odd": (13, 6, 20), "small": (4, 5, 6), "empty": (8, 8, 8)}.items():
        labels = generator.integers(3, size=shape) if case != "empty" else np.zeros(shape)
        cases[case] = (labels[None] + generator.normal(0, 0.4, (1, *shape)) * (case != "empty"), labels, {})
    return PreparedStore.create(tmp_path, cases, label_names=["one", "two"])


def _whole_volume_dice(store: PreparedStore, case: str) -> float:
    image, labels = store.open(case).image[:], store.open(case).labels[:]
    predicted = Threshold()(torch.from_numpy(image)[None])[0].argmax(dim=0).numpy()
    values = [
        2 * ((predicted == k) & (labels == k)).sum() / ((predicted == k).sum() + (labels == k).sum()) for k in (1, 2)
    ]
    return float(np.mean(values))


def _validate(store: PreparedStore, *cases: str, **training) -> float:
    validator = Validator(store, cases, tiny_config(training={"patch": (6, 6, 6), **training}).training)
    return validator(Threshold(), device=torch.device("cpu"))


@pytest.mark.parametrize("case", ["odd", "small"])
def test_tiles_count_every_voxel_once(store, case):
    assert _validate(store, case) == pytest.approx(_whole_volume_dice(store, case), abs=1e-12)


def test_cases_weigh_the_same_and_one_without_structures_does_not_count(store):
    expected = np.mean([_whole_volume_dice(store, case) for case in ("odd", "small")])
    assert _validate(store, "odd", "small", "empty") == pytest.approx(expected)
    assert np.isnan(_validate(store, "empty"))


def test_whole_images_are_resized(store):
    assert _validate(store, "small", patch=(4, 5, 6), sampling={"strategy": "whole"}) == pytest.approx(
        _whole_volume_dice(store, "small")
    )


def test_voxels_that_nobody_labelled_do_not_count(store, tmp_path):
    image, labels = store.open("small").image[:], store.open("small").labels[:]
    unknown = np.zeros(labels.shape, bool)
    unknown[1:3, 2:] = True
    marked = PreparedStore.create(
        tmp_path / "marked",
        {"a": (image, np.where(unknown, 255, labels), {})},
        label_names=["one", "two"],
        ignored=True,
    )
    predicted = Threshold()(torch.from_numpy(image)[None])[0].argmax(dim=0).numpy()
    known = [((predicted == k)[~unknown], (labels == k)[~unknown]) for k in (1, 2)]
    expected = np.mean([2 * (ours & truth).sum() / (ours.sum() + truth.sum()) for ours, truth in known])
    assert _validate(marked, "a") == pytest.approx(expected, abs=1e-12)
    assert _validate(marked, "a") != pytest.approx(_whole_volume_dice(store, "small"))


def test_the_network_trains_on_afterwards(store):
    network = Threshold().train()
    training = tiny_config(training={"patch": (6, 6, 6)}).training
    Validator(store, ["small"], training)(network, device=torch.device("cpu"))
    assert network.training


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("case", ["odd", "small"])
def test_a_flat_network_sees_every_pixel_of_every_slice_once(store, case, axis):
    training = tiny_config(training={"patch": (6, 5)}).training
    value = Validator(store, [case], training, slice_axis=axis)(Threshold(), device=torch.device("cpu"))
    assert value == pytest.approx(_whole_volume_dice(store, case), abs=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_whole_slices_of_a_volume_are_compared_on_the_networks_grid(store, axis):
    shape = [side for other, side in enumerate((13, 6, 20)) if other != axis]
    settings = {"patch": shape, "sampling": {"strategy": "whole"}}
    same = Validator(store, ["odd"], tiny_config(training=settings).training, slice_axis=axis)
    assert same(Threshold(), device=torch.device("cpu")) == pytest.approx(_whole_volume_dice(store, "odd"), abs=1e-12)
    larger = tiny_config(training={**settings, "patch": [2 * side for side in shape]}).training
    value = Validator(store, ["odd"], larger, slice_axis=axis)(Threshold(), device=torch.device("cpu"))
    assert 0.3 < value < _whole_volume_dice(store, "odd")  # blurred by the interpolation
