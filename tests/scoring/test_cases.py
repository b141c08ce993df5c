from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import surface_distance
from helpers.expected_scores import EXPECTED, SITUATIONS, WORST
from helpers.masks import label_maps, mask_pairs
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmark.errors import InputError
from benchmark.scoring.aggregate import COLUMNS, summarise
from benchmark.scoring.cases import score_case
from benchmark.scoring.conventions import Crop, get_convention, load_conventions
from benchmark.scoring.images import Geometry, LabelMap

pytestmark = pytest.mark.filterwarnings("ignore")
THREE = {1: "one", 2: "two", 3: "three"}
FLARE = dict(enumerate(get_convention("umamba_abdomen").tolerances.classes, start=1))


def as_map(array, spacing=None):
    spacing = spacing or (1.0,) * array.ndim
    return LabelMap(np.ascontiguousarray(array), Geometry(array.shape, tuple(spacing)))


def values(reference, prediction, convention, *, labels=None, metrics=None, spacing=None):
    """(class, metric) → (value, status) under one convention."""
    maps = as_map(reference, spacing), None if prediction is None else as_map(prediction, spacing)
    labels = labels or {1: "one"}
    scores = score_case(*maps, labels=labels, conventions=[get_convention(convention)], metrics=metrics)
    return {(score.class_name, score.metric): (score.value, score.status) for score in scores}


@pytest.mark.parametrize(("name", "metric"), [key for key in EXPECTED if key[1] != "f1"])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_empty_situations_of_a_case(name, metric, situation):
    reference, prediction = np.zeros((2, 4, 6, 8), np.uint8)
    spacing = (1.5, 1.5, 1.5)
    if situation in ("empty_prediction", "missing_prediction"):
        reference[1:3, 1:3, 1:3] = 1
    if situation == "empty_reference":
        prediction[1:3, 1:3, 1:3] = 1
    given_prediction = None if situation == "missing_prediction" else prediction
    scores = values(reference, given_prediction, name, labels={1: "liver"}, metrics=[metric], spacing=spacing)
    worst = 400.0 if metric == "hd95" else 0.0
    expected = EXPECTED[name, metric][SITUATIONS.index(situation)]
    assert scores["liver", metric][1] == situation
    assert scores["liver", metric][0] == pytest.approx(worst if expected == WORST else expected, nan_ok=True)


def flare_by_the_book(reference, prediction, spacing):
    """U-Mamba's abdomen evaluation, written once more from its description with surface-distance."""
    expected = {}
    for label, (name, tolerance) in enumerate(get_convention("umamba_abdomen").tolerances.classes.items(), start=1):
        masks = reference == label, prediction == label
        if not masks[0].any():
            both = (1.0, 1.0) if not masks[1].any() else (0.0, 0.0)
        else:
            if name in ("aorta", "inferior_vena_cava", "esophagus"):
                slices = np.flatnonzero(masks[0].any(axis=(0, 1)))
                masks = tuple(mask[:, :, slices[0] : slices[-1]] for mask in masks)
            if not masks[0].size:
                both = (math.nan, math.nan)
            else:
                distances = surface_distance.compute_surface_distances(*masks, spacing)
                both = (
                    surface_distance.compute_dice_coefficient(*masks),
                    surface_distance.compute_surface_dice_at_tolerance(distances, tolerance),
                )
        expected[name] = tuple(np.round(both, 4))
    return expected


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((0.02, 0.3, 0.9)), st.integers(1, 13))
def test_umamba_abdomen_agrees_with_its_description(seed, change, classes):
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(2, 9, 3))
    reference = random.integers(0, 14, shape).astype(np.uint8)
    reference[reference > classes] = 0
    prediction = np.where(random.random(shape) < change, random.integers(0, 14, shape), reference).astype(np.uint8)
    spacing = (1.1, 1.1, 4.3)
    ours = values(reference, prediction, "umamba_abdomen", labels=FLARE, spacing=spacing)
    expected = flare_by_the_book(reference, prediction, spacing)
    for name in FLARE.values():
        mine = [ours[name, metric][0] for metric in ("dsc", "nsd")]
        assert mine == pytest.approx(expected[name], abs=1e-9, nan_ok=True), name


def test_the_last_labelled_slice_of_the_aorta_is_lost():
    reference, prediction = np.zeros((2, 5, 5, 10), np.uint8)
    reference[2, 2, 3:8] = 1
    prediction[2, 2, 3:7] = 1  # misses only the slice that is not scored
    prediction[4, 4, 9] = 1  # outside the reference's range, not scored either
    labels = {1: "aorta"}
    assert values(reference, prediction, "umamba_abdomen", labels=labels)["aorta", "dsc"] == (1.0, "ok")
    assert values(reference, prediction, "canonical", labels=labels)["aorta", "dsc"][0] == pytest.approx(8 / 10)
    assert values(reference, prediction, "umamba_abdomen", labels={1: "liver"})["liver", "dsc"][0] == 0.8
    reference[:, :, 4:] = 0  # one slice left
    for other in (prediction, np.zeros_like(prediction)):
        assert math.isnan(values(reference, other, "umamba_abdomen", labels=labels)["aorta", "nsd"][0])


@settings(max_examples=40, deadline=None)
@given(label_maps(classes=3))
def test_endoscopy_frames_agree_with_their_description(maps):
    reference, prediction = (side if side.ndim == 2 else side[0] for side in maps)
    labels = {value: f"tool {value}" for value in range(1, 6)}
    either = [value for value in labels if (reference == value).any() or (prediction == value).any()]
    assume(either)
    expected = []
    for value in either:
        masks = (reference == value)[..., None], (prediction == value)[..., None]
        dice = surface_distance.compute_dice_coefficient(*masks)
        distances = surface_distance.compute_surface_distances(*masks, [1, 1, 1])
        expected.append((dice, surface_distance.compute_surface_dice_at_tolerance(distances, 2)))
    ours = values(reference, prediction, "umamba_endoscopy", labels=labels)
    convention = get_convention("umamba_endoscopy")
    rows = [("run", "frame", name, metric, *score) for (name, metric), score in ours.items()]
    rows = [(*row[:5], convention.name, row[5]) for row in rows]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    for column, metric in enumerate(("dsc", "nsd")):
        mean = summarise(frame, metric=metric, convention=convention).mean
        assert mean == pytest.approx(np.round(np.mean([pair[column] for pair in expected]), 4), abs=1e-9)


def test_spacing_rules():
    reference, prediction = np.zeros((2, 6, 6, 6), np.uint8)
    reference[1:3, 1:3, 1:3] = 1
    prediction[3:5, 1:3, 1:3] = 1
    hd = {
        name: values(reference, prediction, name, metrics=["hd95"], spacing=(4, 1, 1))["one", "hd95"][0]
        for name in ("medpy", "transunet")
    }
    assert hd == {"medpy": 8.0, "transunet": 2.0}
    nsd = values(reference, prediction, "totalsegmentator", metrics=["nsd"], spacing=(40, 1, 1))["one", "nsd"][0]
    assert nsd == 1.0  # always 1.5 mm: every distance is at most 3
    flat = np.ones((4, 4), np.uint8)
    with pytest.raises(InputError, match="3-dimensional"):
        values(flat, flat, "totalsegmentator", metrics=["nsd"])


def test_volumes_and_presence():
    reference, prediction = np.zeros((2, 4, 4, 4), np.uint8)
    reference[:2, :2, :2] = 1
    wanted = ["volume_reference", "volume_prediction"]
    scores = values(reference, prediction, "nnunet", metrics=wanted, spacing=(2, 1, 3))
    assert scores["one", "volume_reference"] == (48.0, "empty_prediction")
    assert scores["one", "volume_prediction"] == (0.0, "empty_prediction")
    scores = values(reference, None, "nnunet", metrics=wanted, spacing=(2, 1, 3))
    assert scores["one", "volume_reference"] == (48.0, "missing_prediction")
    assert math.isnan(scores["one", "volume_prediction"][0])


def test_scoring_several_conventions_at_once_changes_no_value():
    random = np.random.default_rng(3)
    reference = random.integers(0, 4, (8, 9, 7)).astype(np.uint8)
    prediction = np.where(random.random(reference.shape) < 0.2, 0, reference)
    maps = as_map(reference, (1.0, 2.0, 1.5)), as_map(prediction, (1.0, 2.0, 1.5))
    labels = {1: "liver", 2: "aorta", 3: "spleen"}
    conventions = [c for c in load_conventions().values() if c.name != "umamba_microscopy"]
    together = score_case(*maps, labels=labels, conventions=conventions)
    alone = [s for c in conventions for s in score_case(*maps, labels=labels, conventions=[c])]
    assert sorted(together) == sorted(alone)


def microscopy(reference, prediction):
    scores = values(reference, prediction, "umamba_microscopy", labels={1: "cell"})
    return {metric: value for (_, metric), (value, _) in scores.items()}


def test_microscopy_by_hand():
    reference = np.zeros((40, 40), np.uint16)
    for value, (row, column) in enumerate([(5, 5), (5, 20), (20, 5), (20, 20), (1, 30)], start=1):
        reference[row : row + 6, column : column + 6] = value  # the fifth lies in the 2-pixel frame
    prediction = np.zeros((40, 40), np.uint8)
    prediction[5:11, 5:11] = 1  # exact
    prediction[5:11, 20:23] = 1  # IoU exactly one half: counts
    prediction[20:26, 5:7] = 1  # IoU one third: does not
    prediction[30:34, 30:34] = 1  # false positive
    prediction[20:26, 20:26] = 2  # boundary class: ignored
    # 4 reference cells, 4 predicted, 2 matched
    assert microscopy(reference, prediction) == {"f1": 0.5, "precision": 0.5, "recall": 0.5}
    prediction[30:34, 30:34] = 0
    assert microscopy(reference, prediction) == {"f1": 0.5714, "precision": 0.6667, "recall": 0.5}
    empty = np.zeros_like(prediction)
    assert set(microscopy(reference, empty).values()) == {0.0}
    assert set(microscopy(empty.astype(np.uint16), empty).values()) == {0.0}
    aware = values(reference, prediction, "canonical", labels={1: "cell"}, metrics=["f1"])
    assert aware["cell", "f1"] == (pytest.approx(2 * 2 / (5 + 3)), "ok")
    assert aware["cell", "f1@0.75"] == (pytest.approx(2 * 1 / (5 + 3)), "ok")
    assert math.isnan(values(empty, empty, "canonical", metrics=["f1"])["one", "f1"][0])


def test_a_prediction_that_the_crop_empties_scores_as_a_miss():
    """Not a distance of 0, which would be the best there is."""
    crop = Crop(classes=("aorta",), axis=2, upper="exclusive")
    convention = get_convention("canonical").model_copy(update={"crop": crop})
    reference, prediction = np.zeros((2, 5, 5, 10), np.uint8)
    reference[2, 2, 3:8] = 1
    prediction[2, 2, 7:9] = 1  # only on the slice that is lost, and beyond
    scores = score_case(as_map(reference), as_map(prediction), labels={1: "aorta"}, conventions=[convention])
    found = {score.metric: score.value for score in scores}
    assert found == {"dsc": 0, "iou": 0, "nsd": 0, "hd": 400, "hd95": 400, "assd": 400}


@settings(max_examples=30, deadline=None)
@given(mask_pairs(), mask_pairs(), st.sampled_from(("missing", "empty", "false positive")), st.integers(0, 1))
def test_canonical_failure_never_helps(first, second, failure, which):
    """Replacing a prediction by a failure improves no mean of the canonical convention."""
    convention = get_convention("canonical")
    cases = [list(first), list(second)]
    before = canonical_means(cases, convention)
    reference, prediction, _ = cases[which]
    if failure == "missing":
        cases[which][1] = None
    elif failure == "empty":
        assume(reference.any())  # on an absent structure an empty prediction is right
        cases[which][1] = np.zeros_like(prediction)
    else:
        assume(not reference.any() and not prediction.any())
        cases[which][1] = np.ones_like(prediction)
    after = canonical_means(cases, convention)
    for metric, value in after.items():
        worse = before[metric] - value if metric in ("dsc", "iou", "nsd") else value - before[metric]
        assert math.isnan(before[metric]) or worse >= -1e-12, metric


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from(("missing", "missed structure", "invented structure")),
    st.sampled_from(("cases_then_classes", "classes_then_cases")),
)
def test_canonical_failure_never_helps_whatever_the_order_of_averaging(seed, failure, order):
    """Three images of up to three structures, of which some lack some: one more failure improves no metric's mean."""
    random, shape = np.random.default_rng(seed), (8, 9)
    convention = get_convention("canonical").model_copy(update={"averaging": order})
    cases = []
    for _ in range(3):
        reference = random.choice([0, 0, 0, 1, 2, 3], shape)
        reference[np.isin(reference, random.permutation(4)[: random.integers(0, 4)])] = 0
        prediction = np.where(random.random(shape) < 0.7, reference, random.choice([0, 0, 1, 2, 3], shape))
        cases.append([reference, prediction, (1.0, 1.0)])
    before = canonical_means(cases, convention, labels=THREE, metrics=tuple(convention.rules))
    reference, prediction, _ = cases[0]
    label, free = int(random.integers(1, 4)), np.argwhere((reference == 0) & (prediction == 0))
    if failure == "missing":
        cases[0][1] = None
    elif failure == "missed structure":
        assume((reference == label).any())
        cases[0][1] = np.where(prediction == label, 0, prediction)
    else:
        assume(not (reference == label).any() and not (prediction == label).any() and len(free))
        prediction[tuple(free[0])] = label
    after = canonical_means(cases, convention, labels=THREE, metrics=tuple(convention.rules))
    for metric, value in after.items():
        if metric in ("f1", "precision", "recall") and failure != "missing":
            continue  # fewer instances may be fewer wrong ones
        worse = value - before[metric] if metric in ("hd", "hd95", "assd") else before[metric] - value
        assert math.isnan(before[metric]) or worse >= -1e-12, metric


def canonical_means(cases, convention, *, labels=None, metrics=None):
    rows = []
    for number, (reference, prediction, spacing) in enumerate(cases):
        maps = [None if m is None else as_map(m.astype(np.uint8), spacing) for m in (reference, prediction)]
        scores = score_case(*maps, labels=labels or {1: "one"}, conventions=[convention], metrics=metrics)
        rows += [("run", str(number), s.class_name, s.metric, s.value, s.convention, s.status) for s in scores]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    metrics = metrics or convention.default_metrics
    return {metric: summarise(frame, metric=metric, convention=convention).mean for metric in metrics}


def test_canonical_distances_end_at_the_penalty():
    reference, prediction = np.zeros((2, 3, 3, 900), np.uint8)
    reference[1, 1, 1], prediction[1, 1, -2] = 1, 1
    assert values(reference, prediction, "canonical")["one", "hd"][0] == 400.0
    assert values(reference, prediction, "monai")["one", "hd"][0] == 897.0


def test_another_grid_or_metric_is_refused():
    one, other = np.ones((4, 4, 4), np.uint8), np.ones((4, 4, 5), np.uint8)
    with pytest.raises(InputError, match="another shape"):
        values(one, other, "nnunet")
    with pytest.raises(InputError, match="does not define nsd"):
        values(one, one, "nnunet", metrics=["dsc", "nsd"])
