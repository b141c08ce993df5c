"""Scores mask by mask: SAM-Med2D's own function, axes of slices, and a run's scores beside its convention."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.label_files import write

from benchmark.catalog.catalog import load_catalog
from benchmark.data.store import PreparedStore
from benchmark.errors import InputError
from benchmark.files import write_json
from benchmark.jobs import score_run as run
from benchmark.scoring.aggregate import average, read_scores, score_table
from benchmark.scoring.cases import score_case
from benchmark.scoring.conventions import get_convention
from benchmark.scoring.images import Geometry, LabelMap
from benchmark.scoring.slices import score_slices

LABELS = {1: "liver", 2: "tumour"}
CONVENTION = get_convention("sam_med2d")


def as_map(array: np.ndarray) -> LabelMap:
    array = np.ascontiguousarray(array, np.uint8)
    return LabelMap(array, Geometry(array.shape, (1.0,) * array.ndim))


@pytest.mark.parity
def test_every_mask_has_the_value_of_the_released_function(parity_around):
    facts = parity_around("score_2d")
    references, predictions = (facts[name].numpy() > 0 for name in ("reference", "prediction"))
    for metric, name in (("dsc", "dice"), ("iou", "iou")):
        for number, expected in enumerate(facts["results"]["SAM-Med2D"][name].tolist()):
            maps = as_map(references[number]), as_map(predictions[number])
            (score,) = score_case(*maps, labels={1: "mask"}, conventions=[CONVENTION], metrics=[metric])
            assert score.value == pytest.approx(round(expected, 4), abs=1e-9), facts["situations"][number]
    volume = as_map(references), as_map(predictions)
    scores = score_slices(*volume, axis=0, labels={1: "mask"}, conventions=[CONVENTION], metrics=["dsc"])
    # masks that the reference does not have are not asked for
    assert [(score.part, score.value) for score in scores] == [
        ("0", pytest.approx(0.8767)),
        ("1", 0.0),
        ("4", pytest.approx(0.2115)),
    ]


@pytest.fixture
def maps() -> tuple[np.ndarray, np.ndarray]:
    """Six slices along the last axis: liver in four, a tumour in two; the prediction lacks a part of each."""
    reference = np.zeros((8, 6, 6), np.uint8)
    reference[1:7, 1:5, 1:5] = 1
    reference[2:4, 2:4, 2:4] = 2
    prediction = reference.copy()
    prediction[1:4, :, 1] = 0
    prediction[:, :, 4] = 0
    prediction[2, 2:4, 3] = 1
    prediction[0, 0, 0] = 1  # where no slice of the reference shows anything
    return reference, prediction


def by_hand(reference: np.ndarray, prediction: np.ndarray, label: int) -> list[float]:
    values = []
    for number in range(reference.shape[2]):
        truth, found = reference[..., number] == label, prediction[..., number] == label
        if truth.any():
            values.append(round(2 * (truth & found).sum() / (truth.sum() + found.sum()), 4))
    return values


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_lie_along_the_axis_that_is_named(maps, axis):
    turned = [as_map(np.moveaxis(one, 2, axis)) for one in maps]
    scores = score_slices(*turned, axis=axis, labels=LABELS, conventions=[CONVENTION])
    for label, name in LABELS.items():
        found = [score.value for score in scores if (score.class_name, score.metric) == (name, "dsc")]
        assert found == pytest.approx(by_hand(*maps, label)) and len(found) == (4 if label == 1 else 2)


def test_a_structure_that_no_slice_shows_has_no_value(maps):
    names = {**LABELS, 3: "spleen"}
    scores = score_slices(*map(as_map, maps), axis=2, labels=names, conventions=[CONVENTION], metrics=["dsc"])
    (absent,) = [score for score in scores if score.class_name == "spleen"]
    assert np.isnan(absent.value) and absent.part == "" and absent.status == "both_empty"


def test_a_volume_whose_axis_is_not_known_is_refused(maps):
    with pytest.raises(InputError, match="along which axis"):
        score_slices(*map(as_map, maps), axis=None, labels=LABELS, conventions=[CONVENTION])


def test_a_missing_prediction_is_left_out(maps):
    scores = score_slices(as_map(maps[0]), None, axis=2, labels=LABELS, conventions=[CONVENTION], metrics=["dsc"])
    assert len(scores) == 6 and all(np.isnan(score.value) for score in scores)
    assert {score.status for score in scores} == {"missing_prediction"}


@pytest.mark.parametrize(("raw", "axis"), [("RAS", 2), ("RSA", 1), ("IPL", 0), ("", 2)])
def test_a_run_is_scored_mask_by_mask_beside_its_convention(maps, tmp_path: Path, raw: str, axis: int):
    reference, prediction = (np.moveaxis(one, 2, axis) for one in maps)
    orientation = {"orientation": {"raw": raw or None, "prepared": "RAS" if raw else None}}
    store = tmp_path / "store"
    PreparedStore.create(store, {"a": (reference[None], reference, orientation)}, label_names=list(LABELS.values()))
    write(store / "references/a.nii.gz", reference)
    write(tmp_path / "run/predictions/a.nii.gz", prediction)
    write_json(store / "labels.json", {str(value): name for value, name in LABELS.items()})
    config = load_catalog().run("m4oe/atlas2023-prompt/sam_med2d/seed0")
    split, out = {"train": [], "val": [], "test": ["a"]}, tmp_path / "scores.parquet"
    run.score(config, store, split, predictions=tmp_path / "run/predictions", out=out, run=config.run)
    table = score_table(read_scores(out), metric="dsc", convention=CONVENTION)
    assert sorted(table.index) == [f"a/{number}" for number in (1, 2, 3, 4)]
    assert average(table[["liver"]], convention=CONVENTION) == pytest.approx(np.mean(by_hand(*maps, 1)))
    assert average(table[["tumour"]], convention=CONVENTION) == pytest.approx(np.mean(by_hand(*maps, 2)))
    whole = score_table(read_scores(out), metric="dsc", convention=get_convention("m4oe"))
    assert list(whole.index) == ["a"]
