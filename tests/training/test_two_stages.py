"""Liu's two stages on a tiny store: a coarse training, one that begins from it, and a prediction in the box found."""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from helpers.two_cases import create_two_cases
from safetensors.torch import load_file

from benchmark.data.sampling import PatchDataset
from benchmark.data.store import PreparedStore
from benchmark.errors import InputError
from benchmark.inference import predict
from benchmark.models.registry import build, build_for_run
from benchmark.models.weights_at_hand import weights_at_hand
from benchmark.settings import RunConfig, Training
from benchmark.training import train
from benchmark.training.validation import Validator

SHAPE, BOX = (36, 40, 24), (slice(10, 20), slice(12, 30), slice(6, 12))
TINY = {"width": 4, "width_limit": 16, "window": (2, 2, 2), "heads": 2}
COARSE, FINE = "tiny/coarse/liu-coarse/seed0", "tiny/fine/liu/seed0"


def config_of(run: str, *, sampling: dict, options: dict | None = None, **overrides) -> RunConfig:
    return RunConfig(
        run=run,
        scale="paper",
        dataset="phantom",
        model={"name": "phtrans", "options": {**TINY, **(options or {})}},
        preparation={},
        training={
            "patch": (32, 32, 32),
            "batch": 1,
            "epochs": 1,
            "iterations_per_epoch": 2,
            "optimiser": {"name": "adamw", "learning_rate": 1e-3},
            "schedule": {"name": "constant"},
            "sampling": {"strategy": "whole", **sampling},
        },
        inference={"method": "whole", "enlarged": "logits", "first_stage": {"patch": (32, 32, 32), "margin": 4}},
        convention="canonical",
        seed=0,
        **overrides,
    )


def coarse() -> RunConfig:
    return config_of(COARSE, sampling={"structures": "merged"})


def fine() -> RunConfig:
    edges = [{"part": "first_stage", "training": COARSE}]
    return config_of(FINE, sampling={"margin": 4}, options={"first_stage": (2, 2, 2)}, begins_from=edges)


@pytest.fixture
def store(tmp_path: Path) -> PreparedStore:
    labels = np.zeros(SHAPE, np.uint8)
    labels[BOX] = 1 + np.indices(SHAPE)[0][BOX] % 2
    return create_two_cases(tmp_path, labels[None], labels)


@pytest.fixture
def trained(store: PreparedStore, monkeypatch):
    def run(config: RunConfig, *beginnings: Path) -> Path:
        monkeypatch.setattr(train, "run_config", lambda arguments: config)
        parser = argparse.ArgumentParser()
        train.add_arguments(parser)
        out = store.folder / config.run / "trained.json"
        words = [config.run, "--out", str(out), "--workers", "0", "--stores", str(store.folder / "prepared.json")]
        words += ["--splits", str(store.folder / "split.json")]
        words += ["--beginnings", *map(str, beginnings)] if beginnings else []
        assert train.main(parser.parse_args(words)) is None
        return out

    return run


def test_the_first_stage_goes_into_the_weights_of_the_second_and_says_where_it_looks(
    trained, store, tmp_path, monkeypatch
):
    first = trained(coarse())
    record = trained(fine(), first)
    before, after = (load_file(path.with_name("final.safetensors")) for path in (first, record))
    for key, value in before.items():
        assert torch.equal(after[f"first_stage.{key}"], value), key
    assert before["seg_outputs.0.proj.weight"].shape[0] == 2 and after["seg_outputs.0.proj.weight"].shape[0] == 3
    network = build_for_run(fine(), in_channels=1, out_channels=3)
    frozen = {name for name, one in network.named_parameters() if not one.requires_grad}
    assert frozen == {f"first_stage.{name}" for name, _ in network.first_stage.named_parameters()}

    class Stages(torch.nn.Module):
        """The first one sees structures where the image is bright, the second one class 2 everywhere."""

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.cat([0 * image, 0 * image, 0 * image + 1], dim=1)

    stages = Stages()
    stages.first_stage = torch.nn.Module()
    stages.first_stage.forward = lambda image: torch.cat([0 * image + 0.5, image], dim=1)
    monkeypatch.setattr(predict, "load_network", lambda *_: stages)
    out = tmp_path / "predicted.json"
    predict.predict_run(
        fine(), store, {"test": ["b"]}, weights_at_hand(record, fine()), out, device=torch.device("cpu")
    )
    labels = np.asarray(nibabel.load(tmp_path / "predictions/b.nii.gz").dataobj)
    found = [(int(rows.min()), int(rows.max()) + 1) for rows in np.nonzero(labels)]
    for (start, stop), side, more in zip(found, BOX, (4, 2, 1), strict=True):
        assert abs(start - (side.start - more)) <= 1 and abs(stop - (side.stop + more)) <= 1
    assert set(np.unique(labels)) == {0, 2} and (labels > 0).sum() == np.prod([stop - start for start, stop in found])


def test_training_sees_the_box_of_the_labels_with_its_margin(store):
    # 4 mm are 4, 2 and 1 voxels of 1, 2 and 4 mm
    inside = (slice(6, 24), slice(10, 32), slice(5, 13))
    training = fine().training.model_copy(update={"patch": (18, 22, 8)})
    image, labels = PatchDataset(store, ["a"], training, 0)[0]
    np.testing.assert_array_equal(labels, store.open("a").labels[inside])
    np.testing.assert_array_equal(image[0], store.open("a").image[(0, *inside)])

    def perfect(image: torch.Tensor) -> torch.Tensor:
        assert image.shape == (1, 1, 18, 22, 8)
        return torch.cat([-((image - level) ** 2) for level in range(3)], dim=1)

    network = torch.nn.Module()
    network.forward = perfect
    assert Validator(store, ["b"], training)(network, device=torch.device("cpu")) == 1.0


def test_merged_structures_are_one_class(store):
    training = coarse().training.model_copy(update={"patch": SHAPE})
    _, labels = PatchDataset(store, ["a"], training, 0)[0]
    np.testing.assert_array_equal(labels, store.open("a").labels[:] > 0)
    assert training.classes(13) == 2 and fine().training.classes(13) == 14


def test_a_case_without_labels_is_seen_whole(tmp_path):
    empty = np.zeros((6, 7, 8), np.uint8)
    meta = {"spacing": [1.0, 1.0, 1.0]}
    store = PreparedStore.create(tmp_path, {"a": (empty[None], empty, meta)}, label_names=["one"])
    training = fine().training.model_copy(update={"patch": (6, 7, 8)})
    assert PatchDataset(store, ["a"], training, 0)[0][1].shape == (6, 7, 8)


def test_a_margin_needs_whole_volumes():
    with pytest.raises(ValueError, match="margin is of whole volumes"):
        Training(**{**fine().training.model_dump(), "sampling": {"strategy": "foreground_voxel", "margin": 4}})


@pytest.mark.parametrize("change", ["part", "stage", "shape"])
def test_a_first_stage_that_does_not_fit_is_refused(change):
    network = build("phtrans", in_channels=1, out_channels=3, spatial_shape=(32,) * 3, **TINY,
                    first_stage=None if change == "stage" else (2, 2, 2))  # fmt: skip
    state = build(
        "phtrans", in_channels=1, out_channels=3 if change == "shape" else 2, spatial_shape=(32,) * 3, **TINY
    ).state_dict()
    with pytest.raises(InputError, match="cannot begin from these weights"):
        network.begin_from("encoder" if change == "part" else "first_stage", state)
