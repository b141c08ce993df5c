"""A network whose output is coarser than its input, as MED3D's: trained, validated and predicted, against scipy."""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from helpers.two_cases import create_two_cases
from scipy import ndimage
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmark.catalog import load_catalog
from benchmark.data.store import PreparedStore
from benchmark.errors import InputError
from benchmark.inference import predict
from benchmark.models.registry import build_for_run
from benchmark.models.weights_at_hand import weights_at_hand
from benchmark.settings import Loss, RunConfig
from benchmark.training import train
from benchmark.training.objectives.dice_cross_entropy import SegmentationLoss
from benchmark.training.validation import Validator

SHAPE, PATCH = (20, 22, 18), (24, 16, 32)
QUARTER = tuple(side // 4 for side in PATCH)
COARSE = {"dice": 0.0, "coarse_output": True, "labels_at_outputs": "zoom0"}


def med3d() -> RunConfig:
    """The row of Table 2 on another patch, narrowed, for two steps."""
    config = load_catalog().run("m4oe/flare22-med3d/med3d/seed0", "demo")
    short = {"patch": PATCH, "batch": 1, "epochs": 1, "iterations_per_epoch": 2}
    training = config.training.model_copy(update={**short, "loss": Loss(**COARSE)})
    return config.model_copy(update={"training": training})


@pytest.fixture
def store(tmp_path: Path) -> PreparedStore:
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:14, 5:16, 3:12] = 1 + np.indices((10, 11, 9))[0] // 5
    image = labels[None] * 40.0 + np.random.default_rng(0).normal(0, 9, (1, *SHAPE)).round()
    return create_two_cases(tmp_path, image, labels)


class Shown(nn.Module):
    """Gives the same logits whatever it sees, and keeps what that was."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, image: Tensor) -> Tensor:
        self.image = image
        return self.logits


@pytest.fixture
def logits() -> Tensor:
    return 3 * torch.randn(1, 3, *QUARTER, generator=torch.Generator().manual_seed(0))


def test_the_loss_is_at_the_outputs_size(logits):
    labels = np.random.default_rng(0).integers(0, 3, (1, *PATCH))
    value = SegmentationLoss(Loss(**COARSE))(logits, torch.from_numpy(labels))
    small = ndimage.zoom(labels[0], 0.25, order=0)
    assert value.item() == pytest.approx(cross_entropy(logits, torch.from_numpy(small)[None]).item(), rel=1e-6)
    full = torch.randn(1, 3, *PATCH)
    expected = cross_entropy(full, torch.from_numpy(labels)).item()
    assert SegmentationLoss(Loss(**COARSE))(full, torch.from_numpy(labels)).item() == pytest.approx(expected, rel=1e-6)


def test_a_coarse_output_has_to_be_said(logits):
    with pytest.raises(InputError, match="logits and labels do not fit together"):
        SegmentationLoss(Loss(dice=0.0))(logits, torch.zeros(1, *PATCH, dtype=torch.long))


def test_validation_enlarges_the_logits(store, logits):
    network = Shown(logits)
    found = Validator(store, ["b"], med3d().training)(network, device=torch.device("cpu"))
    predicted = np.stack([ndimage.zoom(channel, 4, order=1) for channel in logits[0].numpy()]).argmax(axis=0)
    labels = ndimage.zoom(store.open("b").labels[:], np.array(PATCH) / SHAPE, order=0)
    overlap = [2 * ((predicted == k) & (labels == k)).sum() for k in (1, 2)]
    sizes = [(predicted == k).sum() + (labels == k).sum() for k in (1, 2)]
    assert found == pytest.approx(np.mean(np.divide(overlap, sizes)), abs=1e-3)
    assert network.image.shape == (1, 1, *PATCH)


def test_med3d_learns_a_quarter_and_its_probabilities_come_back(store, tmp_path, monkeypatch):
    config = med3d()
    monkeypatch.setattr(train, "run_config", lambda arguments: config)
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    record = tmp_path / "run/trained.json"
    words = [config.run, "--out", str(record), "--workers", "0", "--stores", str(tmp_path / "prepared.json")]
    assert train.main(parser.parse_args([*words, "--splits", str(tmp_path / "split.json")])) is None
    network = build_for_run(config, in_channels=1, out_channels=3).eval()
    assert network(torch.zeros(1, 1, *PATCH)).shape == (1, 3, *QUARTER)
    shown: list[Tensor] = []
    original = predict.load_network

    def watched(*arguments) -> nn.Module:
        network = original(*arguments)
        network.register_forward_hook(lambda module, inputs, output: shown.append(output.detach()))
        return network

    monkeypatch.setattr(predict, "load_network", watched)
    weights = weights_at_hand(record, config)
    predict.predict_run(config, store, {"test": ["b"]}, weights, tmp_path / "out.json", device=torch.device("cpu"))
    found = np.asarray(nibabel.load(tmp_path / "predictions/b.nii.gz").dataobj)
    factors = np.array(SHAPE) / QUARTER
    scores = [ndimage.zoom(channel, factors, order=1) for channel in shown[0][0].softmax(dim=0).numpy()]
    highest = np.sort(scores, axis=0)
    clear = highest[-1] - highest[-2] > 1e-4  # rounding may decide elsewhere
    assert shown[0].shape == (1, 3, *QUARTER) and clear.mean() > 0.9
    np.testing.assert_array_equal(found[clear], np.argmax(scores, axis=0)[clear])
