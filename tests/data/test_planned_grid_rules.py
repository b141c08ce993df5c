"""nnU-Net 1.7's rules by hand, what is left out, bad input, and settings that do not fit together."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from pydantic import ValidationError
from scipy import ndimage
from skimage.transform import resize

from benchmark.data.fingerprint import Intensities
from benchmark.data.geometry import restore_labels
from benchmark.data.plan import Plan
from benchmark.data.planned_grid import restore_scores
from benchmark.data.prepared_grid import to_prepared_grid
from benchmark.data.store import PreparedStore, write_case
from benchmark.settings import Preparation, Resampling

CT = Intensities(
    mean=20.0, std=50.0, median=18.0, minimum=-300.0, maximum=400.0, percentile_00_5=-100.0, percentile_99_5=150.0
)
RULES = ("1.7", "2.1", "2.8")


def settings(rules: str, **changes: object) -> Preparation:
    values = {
        "spacing": "planned",
        "orientation": None,
        "crop": "nonzero",
        "normalise": "zscore_planned",
        "resampling": Resampling(rules=rules),
    }
    return Preparation(**(values | changes))


def case(shape=(12, 10, 6), air=2) -> tuple[np.ndarray, np.ndarray]:
    """An image with a rim of zeros and a corner of zeros inside the box, and labels."""
    generator = np.random.default_rng(0)
    image = np.zeros((1, *shape), np.float32)
    inner = tuple(slice(air, side - air) if side > 2 * air else slice(None) for side in shape)
    image[(0, *inner)] = generator.normal(200, 60, image[(0, *inner)].shape)
    image[0, : air + 2, : air + 2] = 0
    labels = np.zeros(shape, np.uint8)
    labels[inner] = generator.integers(0, 3, labels[inner].shape)
    labels[image[0] == 0] = 0
    return image, labels


def run(image, labels, spacing, preparation, plan):
    prepared, classes, grid = to_prepared_grid(
        image, labels, np.diag([*spacing, 1.0]), preparation=preparation, plan=plan
    )
    return prepared, classes, {"case": "a", "shape": list(classes.shape), **grid}


def test_nnunet_1_resamples_and_then_normalises_inside_the_resampled_mask():
    image, labels = case()
    plan = Plan(spacing=(1.0, 1.0, 1.0), slice_axis=2, mask=True)
    ours, classes, meta = run(image, labels, (1.5, 1.5, 1.5), settings("1.7", outside="ignored"), plan)
    (x0, y0, z0), (x1, y1, z1) = meta["nonzero"]["start"], meta["nonzero"]["stop"]
    assert (x0, y0) == (2, 2) and (x1, y1, z1 - z0) == (10, 8, 2)
    box = np.ascontiguousarray(image[0, x0:x1, y0:y1, z0:z1].T)
    seg = np.where((box == 0), -1, labels[x0:x1, y0:y1, z0:z1].T.astype(int))
    shape = (3, 9, 12)
    resampled = resize(box.astype(float), shape, 3, mode="edge", anti_aliasing=False).astype(np.float32)
    expected_labels = np.zeros(shape, int)
    for label in np.unique(seg):
        share = resize((seg == label).astype(float), shape, 1, mode="edge", anti_aliasing=False)
        expected_labels[share >= 0.5] = label
    inside = expected_labels >= 0
    values = resampled[inside]
    expected = np.where(inside, (resampled - values.mean()) / values.std(), 0)
    np.testing.assert_allclose(ours[0], expected.T, atol=1e-5)
    np.testing.assert_array_equal(classes, np.where(expected_labels == -1, 255, expected_labels).T)
    assert (ours[0][classes == 255] == 0).all() and (classes == 255).any()


def test_ct_is_clipped_and_scaled_by_the_training_cases_before_or_after_resampling():
    image, labels = case(air=0)
    plan = Plan(spacing=(1.0, 1.0, 1.0), slice_axis=2, intensities=(CT,))
    found = {}
    for rules in RULES:
        found[rules], _, _ = run(image, labels, (1.5, 1.5, 1.5), settings(rules, normalise="ct_global"), plan)
        assert found[rules].max() <= (150 - 20) / 50 + 1e-6 and found[rules].min() >= (-100 - 20) / 50
    np.testing.assert_array_equal(found["2.1"], found["2.8"])
    assert not np.allclose(found["1.7"], found["2.1"], atol=1e-3)
    same = {rules: run(image, labels, (1, 1, 1), settings(rules, normalise="ct_global"), plan)[0] for rules in RULES}
    np.testing.assert_array_equal(same["1.7"], same["2.1"])  # nothing to resample: the order does not matter
    np.testing.assert_allclose(same["1.7"], (np.clip(image, -100, 150) - 20) / 50, atol=1e-6)


def test_nnunet_1_keeps_the_coarse_axis_apart_with_the_nearest_slice():
    image, labels = case((8, 8, 4), air=0)
    plan = Plan(spacing=(1.0, 1.0, 2.5), slice_axis=2)
    ours, _, meta = run(image, labels, (1.0, 1.0, 5.0), settings("1.7"), plan)
    nearest = image[0][:, :, [0, 0, 1, 1, 2, 2, 3, 3]]
    np.testing.assert_allclose(ours[0], (nearest - nearest.mean()) / nearest.std(), atol=2e-6)
    assert meta["spacing"] == [1.0, 1.0, 2.5]


def test_slices_keep_their_distance_in_a_2d_plan():
    image, labels = case()
    plan = Plan(spacing=(1.0, 2.0, 9.0), slice_axis=2)
    ours, _, meta = run(image, labels, (2.0, 2.0, 5.0), settings("2.8", spacing="planned_in_plane"), plan)
    assert ours.shape == (1, 16, 6, 2) and meta["spacing"] == [1.0, 2.0, 5.0]


def test_softmax_goes_back_under_nnunet_1_and_logits_under_nnunet_2():
    """A class that is sure on one side and nearly sure on the other: logits and probabilities meet elsewhere."""
    image, labels = case((4, 4, 4), air=0)
    image[image == 0] = 1
    plan = Plan(spacing=(2.0, 2.0, 2.0), slice_axis=2)
    scores = np.random.default_rng(1).normal(0, 6, (3, 2, 2, 2)).astype(np.float32)
    exponentials = np.exp(scores - scores.max(0))
    fields = {"1.7": exponentials / exponentials.sum(0), "2.1": scores}
    found = {}
    for rules, field in fields.items():
        meta = run(image, labels, (1.0, 1.0, 1.0), settings(rules), plan)[2]
        found[rules] = restore_scores(scores.copy(), meta)
        resampled = np.stack([resize(one, (4, 4, 4), 1, mode="edge", anti_aliasing=False) for one in field])
        np.testing.assert_array_equal(found[rules], resampled.argmax(0))
    assert (found["1.7"] != found["2.1"]).any()


def test_which_grid_decides_what_is_apart_on_the_way_back():
    """Anisotropic along z before and along x after: nnU-Net 1.7 looks at the raw grid first, nnU-Net 2 at the other."""
    image, labels = case((6, 10, 8), air=0)
    plan = Plan(spacing=(4.5, 1.0, 1.0), slice_axis=0)
    apart = {rules: run(image, labels, (1.0, 1.0, 5.0), settings(rules), plan)[2]["scores"] for rules in RULES}
    assert [apart[rules]["axes"][apart[rules]["separate_axis"]] for rules in RULES] == [0, 2, 2]  # natural z is 0


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("value", [0.0, 1000.1])
def test_an_image_of_one_value_becomes_zero(rules, mask, value):
    image, labels = np.full((2, 6, 5, 4), value, np.float32), np.zeros((6, 5, 4), np.uint8)
    plan = Plan(spacing=(1.0, 1.0, 1.0), slice_axis=2, mask=mask)
    ours, classes, meta = run(image, labels, (2.0, 2.0, 2.0), settings(rules), plan)
    assert ours.shape == (2, 12, 10, 8) and not ours.any() and not classes.any()
    assert restore_labels(classes, meta).shape == labels.shape


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 6, 1), (1, 5, 4)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.1, 0.1, 0.1), (1.0, 1.0, 8.0)])
def test_tiny_volumes_and_single_slices_keep_at_least_one_voxel(rules, shape, spacing):
    image = np.random.default_rng(0).normal(50, 9, (1, *shape)).astype(np.float32)
    labels = np.ones(shape, np.uint8)
    plan = Plan(spacing=(1.0, 1.0, 4.0), slice_axis=2)
    ours, classes, meta = run(image, labels, spacing, settings(rules), plan)
    expected = [
        max(1, round(side * have / want)) for side, have, want in zip(shape, spacing, plan.spacing, strict=True)
    ]
    assert list(ours.shape[1:]) == expected and np.isfinite(ours).all() and (classes == 1).all()
    assert (restore_labels(classes, meta) == 1).all()
    scores = np.stack([np.zeros(classes.shape), np.ones(classes.shape)]).astype(np.float32)
    assert (restore_scores(scores, meta) == 1).all()


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
def test_turned_axes_come_back(codes):
    image, labels = case()
    affine = nibabel.orientations.inv_ornt_aff(nibabel.orientations.axcodes2ornt(codes), labels.shape)
    preparation = settings("2.1", orientation="RAS")
    plan = Plan(spacing=(1.0, 1.0, 1.0), slice_axis=2)
    _, classes, grid = to_prepared_grid(image, labels, affine, preparation=preparation, plan=plan)
    meta = {"case": "a", "shape": list(classes.shape), **grid}
    np.testing.assert_array_equal(restore_labels(classes, meta), labels)
    scores = np.stack([classes == number for number in range(3)]).astype(np.float32)
    np.testing.assert_array_equal(restore_scores(scores, meta), labels)


def test_scores_of_another_shape_are_refused():
    image, labels = case()
    plan = Plan(spacing=(1.0, 1.0, 1.0), slice_axis=2)
    meta = run(image, labels, (1.0, 1.0, 1.0), settings("2.8"), plan)[2]
    with pytest.raises(ValueError, match="prepared shape"):
        restore_scores(np.zeros((2, 1, 1, 1), np.float32), meta)


def test_splines_may_be_used_with_a_window_of_ones_own():
    image, labels = case(air=0)
    preparation = Preparation(
        spacing=(1.0, 1.0, 1.0), orientation=None, clip=(0, 400), normalise="unit", resampling=Resampling(image_order=1)
    )
    ours, _, meta = run(image, labels, (2.0, 2.0, 2.0), preparation, Plan())
    unit = np.clip(image[0], 0, 400) / 400
    expected = ndimage.zoom(unit.astype(np.float64), 2, order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(ours[0], expected, atol=1e-6)
    assert meta["nonzero"] == {"start": [0, 0, 0], "stop": [12, 10, 6]}


def test_what_is_left_out_is_no_class_and_no_centre(tmp_path):
    labels = np.full((4, 4, 4), 255, np.uint8)
    labels[:2] = 0
    labels[0, 0, 0] = 3
    image = np.ones((1, 4, 4, 4), np.float32)
    write_case(tmp_path, "a", image, labels, {}, ignored=True)
    stored = PreparedStore.create(tmp_path, {}, label_names=["one"]).open("a")
    assert stored.meta["volumes"] == {"3": 1} and np.array_equal(stored.labels[:], labels)
    assert len(stored.class_voxels[0]) == 31 and len(stored.class_voxels[255]) == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"spacing": "planned"}, "need `resampling`"),
        ({"crop": "nonzero"}, "need `resampling`"),
        ({"normalise": "ct_global"}, "need `resampling`"),
        ({"spacing": "planned_first_stage", "resampling": {"rules": "2.1"}}, "1.7"),
        ({"outside": "ignored", "resampling": {}}, "crop: nonzero"),
        ({"normalise": "ct_global", "clip": (0, 1), "resampling": {}}, "set clip to null"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        Preparation(**values)


def test_settings_without_nnunet_keep_their_digest():
    """Stores and trainings made before there was nnU-Net's preparation are still those of the same settings."""
    assert set(Preparation().model_dump()) == {
        "spacing", "orientation", "clip", "normalise", "foreground_above", "pad_to_patch_multiple"
    }  # fmt: skip
    assert Preparation(resampling=Resampling()).model_dump()["resampling"]["rules"] == "2.8"
