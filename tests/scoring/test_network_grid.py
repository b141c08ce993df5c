"""Scores on the network's grid beside those on the raw grid, of runs, controls and predictions made elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.label_files import AFFINE, write
from scipy import ndimage

from benchmark.catalog.catalog import load_catalog
from benchmark.errors import InputError
from benchmark.files import write_json
from benchmark.jobs import score_run as run
from benchmark.scoring.aggregate import read_scores
from benchmark.scoring.cases import score_case
from benchmark.scoring.conventions import get_convention
from benchmark.scoring.images import Geometry, LabelMap, read_labels, resize_slices
from benchmark.scoring.score import applicable

LABELS = {1: "liver", 2: "spleen"}
PREDICTED = ("run/predictions", "run/network_grid")
SPLIT = {"train": ["a"], "val": [], "test": ["a", "b"]}


@pytest.fixture
def config():
    base = load_catalog().run("moe_sam/synapse/moe_sam/seed0", "paper")
    training = base.training.model_copy(update={"patch": (16, 12)})
    return base.model_copy(update={"convention": "esam_network", "training": training})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """References of two volumes, and predictions that are wrong in one voxel of ten, on both grids."""
    random = np.random.default_rng(0)
    for case in ("a", "b"):
        reference = np.zeros((40, 30, 5), np.uint8)
        reference[4:20, 6:22, 1:4], reference[25:35, 10:20, 2:] = 1, 2
        write(tmp_path / f"store/references/{case}.nii.gz", reference)
        wrong = np.where(random.random(reference.shape) < 0.1, 0, reference).astype(np.uint8)
        write(tmp_path / f"run/predictions/{case}.nii.gz", wrong)
        small = ndimage.zoom(reference, (16 / 40, 12 / 30, 1), order=0)
        small[random.random(small.shape) < 0.2] = 0
        write(tmp_path / f"run/network_grid/{case}.nii.gz", small, affine=np.eye(4))
    write_json(tmp_path / "store/labels.json", {str(value): name for value, name in LABELS.items()})
    return tmp_path


def scores(folder: Path, config, **changes) -> dict[tuple[str, str, str, str], float]:
    places = {"predictions": folder / "run/predictions", "out": folder / "scores.parquet", **changes}
    run.score(config, folder / "store", SPLIT, run=config.run, **places)
    table = read_scores(places["out"])
    keys = table[["convention", "case", "class", "metric"]].itertuples(index=False, name=None)
    return dict(zip(keys, table["value"], strict=True))


def small(path: Path) -> LabelMap:
    return resize_slices(read_labels(path), (16, 12), 2)


def expected(reference: LabelMap, prediction: LabelMap) -> dict[tuple[str, str], float]:
    found = score_case(reference, prediction, labels=LABELS, conventions=[get_convention("esam")])
    return {(score.class_name, score.metric): score.value for score in found}


def test_a_run_is_scored_on_both_grids(folder, config):
    found = scores(folder, config)
    for case in ("a", "b"):
        reference = folder / f"store/references/{case}.nii.gz"
        own = expected(small(reference), read_labels(folder / f"run/network_grid/{case}.nii.gz"))
        assert {key[2:]: value for key, value in found.items() if key[:2] == ("esam_network", case)} == own
        raw = expected(read_labels(reference), read_labels(folder / f"run/predictions/{case}.nii.gz"))
        assert found["canonical", case, "liver", "dsc"] == raw["liver", "dsc"] != own["liver", "dsc"]


def test_a_run_is_also_scored_beside_its_convention(folder, config):
    beside = scores(folder, config.model_copy(update={"convention": "esam"}))
    alone = scores(folder, config)
    assert {key: value for key, value in beside.items() if key[0] == "esam_network"} == {
        key: value for key, value in alone.items() if key[0] == "esam_network"
    }
    assert {key[0] for key in beside} == {"esam", "esam_network", "canonical"}


def test_turned_volumes_are_turned_before_their_slices_are_resized(folder, config):
    """References stored along other axes give the same scores on the network's grid as upright ones."""
    upright = scores(folder, config)
    for case in ("a", "b"):
        write_json(folder / f"store/cases/{case}.json", {"orientation": {"raw": "SRA", "prepared": "RAS"}})
        for place in ("store/references", "run/predictions"):
            path = folder / f"{place}/{case}.nii.gz"
            write(path, np.moveaxis(read_labels(path).array, 2, 0).copy())
    write_json(folder / "store/prepared.json", {})
    turned = config.model_copy(update={"preparation": config.preparation.model_copy(update={"orientation": "RAS"})})
    found = scores(folder, turned)
    assert {key: found[key] for key in upright if key[0] == "esam_network"} == {
        key: value for key, value in upright.items() if key[0] == "esam_network"
    }


def test_what_has_no_labels_there_is_resized_like_the_reference(folder, config):
    (folder / "run/predictions").rename(folder / "theirs")
    found = scores(folder, config, predictions=folder / "theirs")
    for case in ("a", "b"):
        resized = expected(small(folder / f"store/references/{case}.nii.gz"), small(folder / f"theirs/{case}.nii.gz"))
        assert {key[2:]: value for key, value in found.items() if key[:2] == ("esam_network", case)} == resized


def test_a_missing_prediction_is_missing_on_both_grids(folder, config):
    for name in ("predictions", "network_grid"):
        (folder / f"run/{name}/b.nii.gz").unlink()
    found = scores(folder, config)
    assert np.isnan(found["esam_network", "b", "liver", "dsc"]) and found["canonical", "b", "liver", "dsc"] == 0


def test_what_cannot_be_compared_is_refused(folder, config):
    resampled = config.preparation.model_copy(update={"spacing": (1.0, 1.0, 1.0)})
    with pytest.raises(InputError, match="as they are stored"):
        scores(folder, config.model_copy(update={"preparation": resampled}))
    write(folder / "run/network_grid/a.nii.gz", np.zeros((16, 13, 5), np.uint8), affine=np.eye(4))
    with pytest.raises(InputError, match=r"network_grid/a\.nii\.gz"):
        scores(folder, config)
    (folder / "run/network_grid/a.nii.gz").unlink()
    with pytest.raises(InputError, match="no labels on the network's grid"):
        scores(folder, config)


def test_two_folders_alone_do_not_tell_the_networks_grid(folder):
    cases = run.pair_cases(folder / "store/references", folder / "run/predictions")
    conventions = [get_convention(name) for name in ("esam", "esam_network")]
    assert [convention.name for convention in applicable(conventions, ["dsc"], LABELS, cases)] == ["esam"]
    with pytest.raises(InputError, match="how large the network sees"):
        run.score_folders(cases, folder / "s.parquet", labels=LABELS, conventions=conventions[1:], run="r", processes=1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_resized_one_by_one(axis):
    labels = np.random.default_rng(0).integers(0, 9, (13, 17, 6)).astype(np.uint8)
    resized = resize_slices(LabelMap(labels, Geometry(labels.shape, (2.0, 1.0, 3.0))), (8, 30), axis)
    sides = [side for other, side in enumerate(labels.shape) if other != axis]
    for part, result in zip(np.moveaxis(labels, axis, 0), np.moveaxis(resized.array, axis, 0), strict=True):
        assert np.array_equal(result, ndimage.zoom(part, (8 / sides[0], 30 / sides[1]), order=0))
    assert resized.geometry.spacing == (1.0, 1.0, 1.0) and resized.array.flags.c_contiguous


def test_voxels_that_nobody_labelled_are_left_out_on_both_grids(folder, config):
    """The same scores as of maps in which they are background."""
    reference, raw, own = (folder / place / "a.nii.gz" for place in ("store/references", *PREDICTED))
    unlabelled = np.zeros((40, 30, 5), bool)
    unlabelled[10:30, :15] = True
    shrunk = ndimage.zoom(unlabelled.astype(np.uint8), (16 / 40, 12 / 30, 1), order=0) > 0
    array = read_labels(reference).array
    write(reference, np.where(unlabelled, 9, array).astype(np.uint8))
    write_json(folder / "store/labels.json", {"1": "liver", "2": "spleen", "9": "ignore"})
    found = scores(folder, config)
    for path, mask, affine in ((raw, unlabelled, AFFINE), (own, shrunk, np.eye(4))):
        write(path, np.where(mask, 0, read_labels(path).array).astype(np.uint8), affine=affine)
    write(reference, np.where(unlabelled, 0, array).astype(np.uint8))
    assert found == scores(folder, config) and {convention for convention, *_ in found} == {"esam_network", "canonical"}
