"""M4oE's two phases on tiny stores: autoencoders, one training over three datasets, a head for each at prediction."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmark.data.store import PreparedStore
from benchmark.errors import InputError
from benchmark.files import read_json, write_json
from benchmark.inference.image import predict_image
from benchmark.inference.predict import load_network
from benchmark.models.registry import build_for_run
from benchmark.models.weights_at_hand import weights_at_hand
from benchmark.settings import RunConfig
from benchmark.training import train
from benchmark.training.randomness import seed_everything

SIDE, CLASSES = 32, (3, 2, 3)  # two stores have as many classes: only the number of the head tells them apart
HEADS = [{"heads": CLASSES, "head": head} for head in range(len(CLASSES))]
RUN = "tiny/{}/{}/seed0"


def config_of(protocol: str, model: str, *, training: dict | None = None, **overrides) -> RunConfig:
    settings = {
        "patch": (SIDE, SIDE),
        "batch": 6,
        "epochs": 1,
        "iterations_per_epoch": 2,
        "optimiser": {"name": "adamw", "learning_rate": 1e-2},
        "schedule": {"name": "constant"},
        "sampling": {"strategy": "whole"},
        **(training or {}),
    }
    return RunConfig(
        run=RUN.format(protocol, model),
        scale="paper",
        dataset="phantom",
        model={"name": model, "options": SMALL[model]},
        preparation={},
        training=settings,
        inference={"method": "whole"},
        convention="canonical",
        seed=0,
        **overrides,
    )


SMALL = {
    "swin_mae": {"width": 8, "heads": (1, 2, 2, 4), "window": 4},
    "m4oe": {"width": 8, "attention_heads": (1, 2, 2, 4), "window": 4},
}
MASKED = {
    "objective": "masked_images",
    "masked_images": {"masking": "blocks", "ratio": 0.75, "cell": 16, "token": 4, "error": "mse"},
}
STORE = {"preparation": {}, "planes": 2}


@pytest.fixture
def stores(tmp_path: Path) -> list[Path]:
    """Folders of three stores with a volume for training and one for the test."""
    generator = np.random.default_rng(0)
    for number, classes in enumerate(CLASSES):
        labels = (np.indices((SIDE, SIDE, 4)).sum(axis=0) // 9 % classes).astype(np.uint8)
        cases = {
            case: (labels[None] / classes + generator.normal(0, 0.1, (1, *labels.shape)), labels, {})
            for case in ("a", "b")
        }
        names = [f"part{index}" for index in range(1, classes)]
        PreparedStore.create(tmp_path / f"store{number}", cases, label_names=names)
        split = {"train": ["a"], "val": [], "test": ["b"], "digest": "split"}
        write_json(tmp_path / f"store{number}/split.json", split)
    return [tmp_path / f"store{number}" for number in range(len(CLASSES))]


@pytest.fixture
def trained(tmp_path: Path, stores: list[Path], monkeypatch):
    """Function that trains a configuration on some of the stores, and returns the record."""

    def run(config: RunConfig, numbers: list[int], beginnings: list[Path] = ()) -> Path:
        monkeypatch.setattr(train, "run_config", lambda arguments: config)
        parser = argparse.ArgumentParser()
        train.add_arguments(parser)
        out = tmp_path / config.run / "trained.json"
        words = [config.run, "--out", str(out), "--workers", "0"]
        words += ["--stores", *(str(stores[number] / "prepared.json") for number in numbers)]
        words += ["--splits", *(str(stores[number] / "split.json") for number in numbers)]
        words += ["--beginnings", *map(str, beginnings)] if beginnings else []
        assert train.main(parser.parse_args(words)) is None
        return out

    return run


def joint_config(**overrides) -> RunConfig:
    joint = [{"dataset": f"store{number}", **STORE} for number in range(len(CLASSES))]
    return config_of("joint", "m4oe", joint=joint, heads=CLASSES, **overrides)


def test_both_phases_and_a_head_for_each_dataset(trained, stores):
    pretrained = trained(config_of("mae", "swin_mae", training=MASKED), [0])
    before = load_file(pretrained.with_name("final.safetensors"))
    edges = [{"part": part, "training": RUN.format("mae", "swin_mae")} for part in ("encoder", "expert0", "expert2")]
    config = joint_config(begins_from=edges, training={"optimiser": {"name": "sgd", "learning_rate": 1e-9}})
    record = trained(config, [0, 1, 2], [pretrained] * 3)
    weights = load_file(record.with_name("final.safetensors"))
    started = before["layers.1.blocks.0.mlp.fc1.weight"]
    for expert, begins in enumerate((True, False, True)):
        found = weights[f"layers.1.blocks.0.mlp.experts.{expert}.0.weight"]
        assert torch.allclose(found, started, atol=1e-6) is begins
    for head, folder in enumerate(stores):
        store = PreparedStore(folder)
        run = config_of("one", "m4oe", trained_by=config.run, **HEADS[head])
        network = load_network(run, store, weights_at_hand(record, config))
        image = torch.rand(2, 1, SIDE, SIDE)
        torch.testing.assert_close(network(image), network(image, [head] * 2))
        labels = predict_image(network, torch.from_numpy(store.open("b").image[:]), run, device="cpu")
        assert labels.shape == (SIDE, SIDE, 4) and labels.max() < CLASSES[head]


def test_every_head_and_expert_learns(trained):
    """Heads of other datasets than a sample's own are unused in its pass, but not in the training."""
    config = joint_config(training={"batch": 12})
    record = trained(config, [0, 1, 2])
    after = load_file(record.with_name("final.safetensors"))
    seed_everything(config.seed)
    before = build_for_run(config, in_channels=1, out_channels=max(CLASSES)).state_dict()
    for head in range(len(CLASSES)):
        for key in (f"outputs.{head}.weight", f"layers_up.1.blocks.0.mlp.experts.{head}.2.weight"):
            assert not torch.equal(after[key], before[key]), key


def test_weights_are_selected_by_the_validation_cases_of_all_stores(trained, stores):
    config = joint_config(training={"epochs": 3, "selection": {"interval": 1, "patience": 2}})
    with pytest.raises(InputError, match="selected by validation cases, and there are none"):
        trained(config, [0, 1, 2])
    for folder in stores:
        write_json(folder / "split.json", {**read_json(folder / "split.json"), "val": ["b"]})
    record = trained(config, [0, 1, 2])
    with (record.parent / "selection.csv").open() as stream:
        looks = list(csv.DictReader(stream))
    kept = [2 * (int(look["epoch"]) + 1) for look in looks if look["kept"] == "1"]
    assert read_json(record)["selected_step"] == kept[-1] and len(looks) == 3
    lowest = min(looks, key=lambda look: float(look["validation_loss"]))
    assert 2 * (int(lowest["epoch"]) + 1) == kept[-1]


def test_a_network_with_one_head_is_refused(trained):
    config = joint_config().model_copy(update={"model": config_of("mae", "swin_mae").model})
    with pytest.raises(InputError, match="swin_mae has one head"):
        trained(config, [0, 1, 2])
