"""`predict`: raw geometry, resuming, stale and damaged predictions, and messages for bad input."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from skimage.transform import resize
from torch import nn

from benchmark import lineage
from benchmark.data.plan import Plan
from benchmark.data.prepared_grid import to_prepared_grid
from benchmark.data.store import PreparedStore, write_case
from benchmark.errors import InputError
from benchmark.files import file_digest, read_json, write_json
from benchmark.inference import predict
from benchmark.inference.image import predict_image
from benchmark.inference.predict import predict_run
from benchmark.inference.sliding_window import Window, predict_scores
from benchmark.models.weights_at_hand import weights_at_hand
from benchmark.settings import Preparation, Resampling, RunConfig

AFFINE = np.array([[-1.5, 0, 0, 40], [0, 0, 1.5, -7], [0, 1.5, 0, 3], [0, 0, 0, 1]])  # voxel axes run L, S, A
RAW_SHAPE = (12, 9, 14)


def threshold_network() -> nn.Module:
    """Class 1 where the image is above one half: what it labels is known."""
    network = nn.Conv3d(1, 2, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1, 1))
        network.bias.copy_(torch.tensor([0.5, 0.0]))
    return network


def make_case(seed: int) -> tuple[np.ndarray, np.ndarray, dict, np.ndarray]:
    """A raw label map, and its case as `prepare` would store it: RAS, cropped by one voxel on each side."""
    raw = np.random.default_rng(seed).integers(0, 2, RAW_SHAPE).astype(np.uint8)
    raw[[0, -1]] = raw[:, [0, -1]] = raw[:, :, [0, -1]] = 0
    ras = np.flip(raw, 0).transpose(0, 2, 1)
    stored = ras[1:-1, 1:-1, 1:-1]
    meta = {
        "raw": {"shape": list(RAW_SHAPE), "affine": AFFINE.tolist()},
        "crop": {"start": [1, 1, 1], "stop": [side - 1 for side in ras.shape]},
        "reoriented_shape": list(ras.shape),
        "resampled_shape": list(ras.shape),
        "orientation": {"raw": "LSA", "prepared": "RAS"},
    }
    return stored[None].astype(np.float32), stored, meta, raw


def write_record(trained: Path, config: RunConfig) -> None:
    """trained.json of the weights beside it."""
    made = lineage.trained(config, data={config.store.id: "0123"}, begins_from={})
    weights = trained.parent / "final.safetensors"
    write_json(trained, {"run": config.run, "weights": weights.name, "sha256": file_digest(weights), "made": made})


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A trained run over two cases of a store; its split names a third one."""
    monkeypatch.setattr(predict, "build_for_run", lambda config, **_: nn.Conv3d(1, 2, 1))
    cases = {f"s{seed}": make_case(seed) for seed in (0, 1)}
    store = PreparedStore.create(tmp_path / "store", {k: v[:3] for k, v in cases.items()}, label_names=["bright"])
    config = RunConfig.model_validate(
        {
            "run": "paper/protocol/model/seed0",
            "scale": "paper",
            "dataset": "created",
            "model": {"name": "conv"},
            "preparation": {},
            "training": {
                "patch": [8, 8, 8],
                "batch": 1,
                "epochs": 1,
                "optimiser": {"name": "adamw", "learning_rate": 1e-3},
                "schedule": {"name": "constant"},
            },
            "inference": {},
            "convention": "canonical",
            "seed": 0,
        }
    )
    save_file(threshold_network().state_dict(), tmp_path / "final.safetensors")
    trained = tmp_path / "trained.json"
    write_record(trained, config)

    def start(configuration=config, test=("s0", "s1", "s9"), **options):
        weights = weights_at_hand(trained, configuration)
        out, device = tmp_path / "predicted.json", torch.device("cpu")
        return predict_run(configuration, store, {"test": list(test)}, weights, out, device=device, **options)

    start.config, start.folder = config, tmp_path
    start.raw = {name: case[3] for name, case in cases.items()}
    return start


def test_predictions_are_on_the_raw_grid(run):
    summary = run()
    assert (summary["cases"], summary["missing"]) == (["s0", "s1"], ["s9"])
    for case, expected in run.raw.items():
        image = nibabel.load(run.folder / "predictions" / f"{case}.nii.gz")
        assert image.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(image.affine, AFFINE)
        np.testing.assert_array_equal(np.asarray(image.dataobj), expected)


def test_finished_predictions_are_kept_and_others_redone(run):
    run()
    first, second = (run.folder / "predictions" / f"s{number}.nii.gz" for number in (0, 1))
    kept = first.stat().st_mtime_ns
    second.write_bytes(second.read_bytes()[:-20])  # truncated
    (run.folder / "predicted.json").unlink()
    run()
    assert first.stat().st_mtime_ns == kept
    np.testing.assert_array_equal(np.asarray(nibabel.load(second).dataobj), run.raw["s1"])


def test_other_weights_make_predictions_stale(run):
    run()
    inverted = {name: -tensor for name, tensor in threshold_network().state_dict().items()}
    save_file(inverted, run.folder / "final.safetensors")
    write_record(run.folder / "trained.json", run.config)
    run()
    inside = np.asarray(nibabel.load(run.folder / "predictions" / "s0.nii.gz").dataobj)[1:-1, 1:-1, 1:-1]
    np.testing.assert_array_equal(inside, 1 - run.raw["s0"][1:-1, 1:-1, 1:-1])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "trained.json").unlink(), "not a finished training"),
        (lambda folder: (folder / "trained.json").write_text("{"), "not a finished training"),
        (lambda folder: write_json(folder / "trained.json", {"made": {}, "weights": "w"}), "another configuration"),
        (
            lambda folder: write_json(
                folder / "trained.json", {**read_json(folder / "trained.json"), "sha256": "of other weights"}
            ),
            "not those that the training wrote",
        ),
        (lambda folder: (folder / "final.safetensors").unlink(), "weights of the training are gone"),
        (lambda folder: (folder / "final.safetensors").write_bytes(b"\0" * 9), "not those that the training wrote"),
    ],
)
def test_bad_input(run, spoil, message):
    spoil(run.folder)
    with pytest.raises(InputError, match=message):
        run()
    assert not (run.folder / "predicted.json").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(b"\0" * 9), "damaged"),
        (lambda path: save_file({"weight": torch.zeros(1)}, path), "do not fit"),
        (
            lambda path: save_file(
                {name: tensor / 0 for name, tensor in threshold_network().state_dict().items()}, path
            ),
            "s0: the network gives NaN",
        ),
    ],
)
def test_weights_that_a_training_wrote_and_nobody_can_use(run, spoil, message):
    spoil(run.folder / "final.safetensors")
    write_record(run.folder / "trained.json", run.config)
    with pytest.raises(InputError, match=message):
        run()
    assert not (run.folder / "predicted.json").exists()


def test_one_replaced_scan_is_predicted_again_alone(run):
    before = run()
    places = [run.folder / "predictions" / f"s{number}.nii.gz" for number in (0, 1)]
    kept = [path.stat().st_mtime_ns for path in places]
    image, labels, meta, _ = make_case(7)
    write_case(run.folder / "store", "s1", image, labels, meta)
    after = run()
    assert [path.stat().st_mtime_ns == time for path, time in zip(places, kept, strict=True)] == [True, False]
    assert lineage.difference(before["made"], after["made"]).startswith("data: ")


def test_asked_for_all_are_predicted_again(run):
    run()
    places = [run.folder / "predictions" / f"s{number}.nii.gz" for number in (0, 1)]
    kept = [path.stat().st_mtime_ns for path in places]
    run(anew=True)
    assert all(path.stat().st_mtime_ns > time for path, time in zip(places, kept, strict=True))


def test_no_case_to_predict(run):
    with pytest.raises(InputError, match="no case to predict"):
        run(test=["s9"])


@pytest.mark.parametrize("method", ["sliding_window", "slices", "whole"])
@pytest.mark.parametrize("mirror", [False, True])
def test_every_method_finds_what_a_pointwise_network_shows(run, method, mirror):
    three = threshold_network()
    flat = nn.Conv2d(1, 2, 1)
    flat.load_state_dict({"weight": three.weight.detach()[..., 0], "bias": three.bias.detach()})
    patch = {"sliding_window": [8, 8, 8], "slices": [6, 6], "whole": [20, 24]}[method]  # whole: both sides doubled
    tree = run.config.model_dump(mode="json")
    tree["inference"] |= {"method": method, "patch": patch, "mirror": mirror, "window_batch": 3}
    image = (torch.rand(1, 10, 12, 5) > 0.5).float()
    labels = predict_image(
        three if method == "sliding_window" else flat, image, RunConfig.model_validate(tree), device="cpu"
    )
    assert torch.equal(labels.long(), image[0].long())


def test_labels_are_kept_on_the_networks_grid_too(run, monkeypatch):
    flat = nn.Conv2d(1, 2, 1)
    monkeypatch.setattr(predict, "build_for_run", lambda config, **_: nn.Conv2d(1, 2, 1))
    state = threshold_network().state_dict()
    flat.load_state_dict({"weight": state["weight"][..., 0], "bias": state["bias"]})
    save_file(flat.state_dict(), run.folder / "final.safetensors")
    tree = run.config.model_dump(mode="json")
    stored = [side - 2 for side in (RAW_SHAPE[0], RAW_SHAPE[2], RAW_SHAPE[1])]
    tree["inference"] |= {"method": "whole", "patch": [2 * side for side in stored[:2]], "network_grid": True}
    config = RunConfig.model_validate(tree)
    write_record(run.folder / "trained.json", config)
    run(config)
    raw, small = run.folder / "predictions/s1.nii.gz", run.folder / "network_grid/s1.nii.gz"
    expected = np.flip(run.raw["s1"], 0).transpose(0, 2, 1)[1:-1, 1:-1, 1:-1].repeat(2, 0).repeat(2, 1)
    found = np.asarray(nibabel.load(small).dataobj)
    assert found.shape == expected.shape == (2 * stored[0], 2 * stored[1], stored[2])
    assert np.mean(found == expected) > 0.75  # enlarged images are blurred at borders
    kept = raw.stat().st_mtime_ns
    run(config)
    assert raw.stat().st_mtime_ns == kept
    small.unlink()
    run(config)
    assert small.is_file() and raw.stat().st_mtime_ns > kept


def test_only_whole_images_have_a_network_grid(run):
    tree = run.config.model_dump(mode="json")
    tree["inference"] |= {"method": "slices", "network_grid": True}
    with pytest.raises(ValueError, match="network_grid needs the method whole"):
        RunConfig.model_validate(tree)


def test_scores_go_back_to_the_raw_grid_before_the_highest_is_taken(run, tmp_path):
    """A store at twice the spacing: linear interpolation of the two scores, then the higher one, as nnU-Net exports."""
    image = np.random.default_rng(0).random((1, *RAW_SHAPE)).astype(np.float32)
    preparation = Preparation(
        spacing=(3.0, 3.0, 3.0), orientation=None, normalise="none", resampling=Resampling(rules="2.1")
    )
    prepared, labels, grid = to_prepared_grid(
        image, np.zeros(RAW_SHAPE, np.uint8), AFFINE, preparation=preparation, plan=Plan()
    )
    meta = {"raw": {"shape": list(RAW_SHAPE), "affine": AFFINE.tolist()}, **grid}
    case = PreparedStore.create(tmp_path / "coarse", {"a": (prepared, labels, meta)}, label_names=["bright"]).open("a")
    values = run.config.model_dump() | {"preparation": preparation, "inference": {"restore": "scores"}}
    found = predict.predict_raw_labels(
        threshold_network(), case, RunConfig.model_validate(values), device=torch.device("cpu")
    )
    scores = np.stack([np.full_like(prepared[0], 0.5), prepared[0]])
    finer = np.stack([resize(one, RAW_SHAPE, 1, mode="edge", anti_aliasing=False) for one in scores])
    assert found.dtype == np.uint8 and found.any()
    assert (found != finer.argmax(0)).mean() < 1e-3  # the network's own rounding
    by_nearest = predict.predict_raw_labels(
        threshold_network(),
        case,
        RunConfig.model_validate(values | {"inference": {"restore": "labels"}}),
        device=torch.device("cpu"),
    )
    assert (by_nearest != found).any()


@pytest.mark.parametrize(
    "changes",
    [
        {"preparation": {}},
        {"preparation": {"resampling": {}, "foreground_above": 0.0}},
        {"preparation": {"resampling": {}}, "inference": {"restore": "scores", "method": "whole"}},
    ],
)
def test_scores_that_cannot_go_back_are_refused(run, changes):
    values = run.config.model_dump() | {"inference": {"restore": "scores"}} | changes
    with pytest.raises(ValidationError, match="restore: scores needs"):
        RunConfig.model_validate(values)


def test_a_network_that_gives_nan_is_named_for_scores_too():
    network = threshold_network()
    with torch.no_grad():
        network.bias.fill_(float("nan"))
    with pytest.raises(InputError, match="NaN"):
        predict_scores(network, torch.zeros(1, 4, 4, 4), Window((4, 4, 4)), device="cpu")
