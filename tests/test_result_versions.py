"""Results that have changed need a new number in benchmark/result_versions.yaml; old ones would be taken for current.

`results.yaml` keeps a few numbers of what every network, every dataset and the stages that decide numbers give, with
the version that they were made under. `python -m test_result_versions` in tests/ writes it, and refuses numbers that
have changed under the same version.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas
import pytest
import torch
import yaml
from helpers.tiny import TinySamples, make_loop, tiny_config
from safetensors.torch import load_file

from benchmark.data.prompts import points_of
from benchmark.data.sampling import PatchDataset
from benchmark.data.store import PreparedStore
from benchmark.datasets import available_datasets, get_dataset
from benchmark.files import value_digest
from benchmark.inference.sliding_window import Window, predict_labels
from benchmark.lineage import result_versions
from benchmark.models.registry import available_models, build, full_resolution, model_entry
from benchmark.scoring.conventions import get_convention
from benchmark.scoring.folders import score_folders
from benchmark.scoring.pairs import pair_cases
from benchmark.training.checkpoints import write_weights

STORED = Path(__file__).with_name("results.yaml")
SIDES = {2: (64, 64), 3: (32, 32, 64)}


def summary(values: np.ndarray) -> list[float]:
    """Size, mean, deviation, and a mean that depends on the order."""
    values = np.asarray(values, np.float64).ravel()
    weights = np.cos(np.arange(values.size))
    return [float(f"{number:.6g}") for number in (values.size, values.mean(), values.std(), (values * weights).mean())]


def network_result(name: str) -> list[float]:
    """Logits of the network with its demo options and weights of seed 0."""
    entry = model_entry(name)
    shape = SIDES[min(entry.spatial_dims)]
    torch.manual_seed(0)
    network = build(name, in_channels=1, out_channels=3, spatial_shape=shape, **entry.demo).eval()
    image = torch.sin(torch.arange(float(np.prod(shape))) / 7).reshape(1, 1, *shape)
    with torch.no_grad():
        return summary(full_resolution(network(image)).numpy())


def dataset_result(name: str) -> str:
    """What its preparation and its scores rest on: structures in class order, channels, groups, official cases."""
    dataset = get_dataset(name)
    groups = {group: list(names) for group, names in dataset.groups.items()}
    official = [list(dataset.val_cases), list(dataset.test_cases), dict(dataset.split_counts)]
    return value_digest([list(dataset.label_names), list(dataset.channels), groups, official, dataset.split_source])


def blobs() -> tuple[np.ndarray, np.ndarray]:
    grid = np.indices((14, 12, 10))
    labels = np.digitize(np.sin(grid[0] / 3) + np.cos(grid[1] / 2) + np.sin(grid[2]), (0.5, 1.5)).astype(np.uint8)
    return (labels + np.sin(np.arange(labels.size)).reshape(labels.shape))[None].astype(np.float32), labels


def train_result(folder: Path) -> list[float]:
    config = tiny_config(training={"epochs": 4, "checkpoint_interval": 4, "validation_interval": 4})
    loop = make_loop(folder, config, TinySamples(config.seed))
    assert loop.run()
    write_weights(folder / "final.safetensors", loop.network.module)
    weights = load_file(folder / "final.safetensors")
    return summary(np.concatenate([weights[name].numpy().ravel() for name in sorted(weights)]))


def prepare_result(folder: Path) -> list[float]:
    """The patches that a training draws from a store."""
    image, labels = blobs()
    store = PreparedStore.create(folder, {"a": (image, labels, {})}, label_names=("one", "two"))
    training = tiny_config(training={"sampling": {"strategy": "foreground_voxel"}}).training
    samples = PatchDataset(store, ["a"], training, 3)
    return summary(np.stack([samples[index][0].numpy() for index in range(4)]))


def predict_result(folder: Path) -> list[float]:
    torch.manual_seed(0)
    network, image = torch.nn.Conv3d(1, 3, 3, padding=1).eval(), torch.from_numpy(blobs()[0])
    return summary(predict_labels(network, image, Window((8, 8, 8), 0.5, "gaussian", 0.125, 2), device="cpu").numpy())


def prompts_result(folder: Path) -> list[float]:
    points = points_of(blobs()[1], "a", 2, "random")
    return summary(np.array([xy for by_class in points.values() for xy in by_class.values()]))


def score_result(folder: Path) -> list[float]:
    labels = blobs()[1]
    for part, array in (("reference", labels), ("prediction", np.roll(labels, 1, axis=0))):
        (folder / part).mkdir()
        nibabel.Nifti1Image(array, np.diag([1.5, 1, 2, 1])).to_filename(folder / part / "a.nii.gz")
    score_folders(
        pair_cases(folder / "reference", folder / "prediction"),
        folder / "scores.parquet",
        labels={1: "one", 2: "two"},
        conventions=[get_convention("canonical")],
        run="r",
        metrics=("dsc", "nsd", "hd95"),
        processes=1,
    )
    return summary(pandas.read_parquet(folder / "scores.parquet")["value"].to_numpy())


STAGES: dict[str, Callable[[Path], list[float]]] = {
    "prepare": prepare_result,
    "train": train_result,
    "predict": predict_result,
    "prompts": prompts_result,
    "score": score_result,
}
ALL = [
    *(("stages", name) for name in STAGES),
    *(("networks", name) for name in available_models()),
    *(("datasets", name) for name in available_datasets()),
]


def result(kind: str, name: str, folder: Path) -> list[float] | str:
    if kind == "stages":
        return STAGES[name](folder)
    return network_result(name) if kind == "networks" else dataset_result(name)


def stored() -> dict[str, Any]:
    return yaml.safe_load(STORED.read_text(encoding="utf-8")) if STORED.exists() else {}


def same(one: list[float] | str, other: list[float] | str) -> bool:
    """Processors round differently; what a change of the code does is larger."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return one == pytest.approx(other, rel=2e-3, abs=1e-5)


def test_every_network_and_dataset_has_a_version() -> None:
    listed = result_versions()
    assert sorted(listed["networks"]) == sorted(available_models())
    assert sorted(listed["datasets"]) == sorted(available_datasets())
    assert set(STAGES) <= set(listed["stages"])


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_result_is_that_of_its_version(kind: str, name: str, tmp_path: Path) -> None:
    kept, version = stored()[kind][name], result_versions()[kind][name]
    assert kept["version"] == version, "store the new result: cd tests; python -m test_result_versions"
    found = result(kind, name, tmp_path)
    assert same(found, kept["result"]), f"{found}, was {kept['result']}: raise {kind}: {name} in result_versions.yaml"


def write() -> None:
    before, now, changed = stored(), {"stages": {}, "networks": {}, "datasets": {}}, []
    for kind, name in ALL:
        with tempfile.TemporaryDirectory() as folder:
            found, version = result(kind, name, Path(folder)), result_versions()[kind][name]
        old = before.get(kind, {}).get(name)
        if old and old["version"] == version and not same(found, old["result"]):
            changed.append(f"{kind}: {name}")
        kept = old if old and old["version"] == version else {"version": version, "result": found}
        now[kind][name] = kept
    if changed:
        sys.exit(f"changed under the same number in result_versions.yaml: {', '.join(changed)}")
    STORED.write_text(yaml.safe_dump(now, sort_keys=False, default_flow_style=None, width=120), encoding="utf-8")


if __name__ == "__main__":
    write()
