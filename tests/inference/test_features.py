"""Features of a trained MoE-SAM: pictures by hand, shapes, the record, and what has no features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmark.catalog import load_catalog
from benchmark.data.store import PreparedStore
from benchmark.errors import InputError
from benchmark.files import file_digest, read_json, write_json
from benchmark.inference.features import as_pictures, extract_run, feature_maps
from benchmark.models.registry import build_for_run
from benchmark.models.weights_at_hand import weights_at_hand
from benchmark.settings import Features

SPLIT = {"train": ["a"], "val": [], "test": ["b", "c"]}
CONFIG = load_catalog().run("moe_sam/mmwhs/moe_sam/seed0", "demo")


def test_the_component_is_the_direction_of_most_variance_and_rises_with_the_mean():
    generator = np.random.default_rng(0)
    pattern = generator.standard_normal((6, 5))
    maps = np.stack([3 * pattern, -pattern + 7, 0.01 * generator.standard_normal((6, 5))])
    picture = as_pictures(torch.from_numpy(maps), "component")
    assert picture.shape == (6, 5) and np.corrcoef(picture.ravel(), pattern.ravel())[0, 1] > 0.999
    batched = as_pictures(torch.from_numpy(np.stack([maps, -maps])[None]), "component")
    assert np.allclose(batched[0, 0], picture, atol=1e-5) and np.allclose(batched[0, 1], -picture, atol=1e-5)
    assert np.allclose(as_pictures(torch.from_numpy(maps), "mean"), maps.mean(axis=0), atol=1e-6)


@pytest.fixture
def store(tmp_path) -> PreparedStore:
    generator = np.random.default_rng(1)
    meta = {"orientation": {"raw": "LAS", "prepared": "RAS"}}
    cases = {
        case: (generator.random((1, 70, 60, 5), np.float32), np.zeros((70, 60, 5), np.uint8), meta) for case in "abc"
    }
    return PreparedStore.create(tmp_path / "store", cases, label_names=[f"s{k}" for k in range(7)], planes=2)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    network = build_for_run(CONFIG, in_channels=1, out_channels=8)
    save_file(network.state_dict(), tmp_path / "final.safetensors")
    digest = file_digest(tmp_path / "final.safetensors")
    write_json(tmp_path / "trained.json", {"weights": "final.safetensors", "sha256": digest, "made": {}})
    return weights_at_hand(tmp_path / "trained.json", None)


def test_maps_of_the_middle_slices_and_their_record(store, weights, tmp_path):
    out = tmp_path / "features.npz"
    cpu = torch.device("cpu")
    record = extract_run(CONFIG, store, SPLIT, weights, out, settings=Features(slices=3), device=cpu)
    with np.load(out) as maps:
        assert {name: maps[name].shape for name in maps.files} == {
            "images": (2, 64, 64),
            "layers": (2, 4, 4, 4),
            "neck": (2, 4, 4),
            "fused": (2, 4, 4),
            "attention": (2, 4, 4),
        }
        assert all(np.isfinite(maps[name]).all() and np.ptp(maps[name]) > 0 for name in maps.files)
        assert np.abs(maps["neck"] - maps["fused"]).max() > 1e-3  # the block adds something
    assert record == read_json(out.with_suffix(".json")) and record["cases"] == ["b", "c"] and record["axes"] == "RA"
    assert record["made"]["options"] == "--slices 3 --reduction component"
    first = out.read_bytes()
    extract_run(CONFIG, store, SPLIT, weights, out, settings=Features(slices=3), device=cpu)
    assert out.read_bytes() == first


def test_a_network_without_features_is_refused():
    with pytest.raises(InputError, match="Linear does not show its features"):
        feature_maps(torch.nn.Linear(1, 1), torch.zeros(1), "mean")
