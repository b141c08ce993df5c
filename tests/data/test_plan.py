"""The plan: nnU-Net's rules against nnunetv2's planner and by hand, nnU-Net 1.7's first stage, and planning a store."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

from benchmark.data import prepare as module
from benchmark.data.fingerprint import CaseFacts, distinct
from benchmark.data.first_stage import estimated_memory, first_stage_spacing, planned_patch
from benchmark.data.plan import make_plan, plan_for, target_spacing
from benchmark.data.prepare import prepare
from benchmark.data.split import make_split
from benchmark.data.store import PreparedStore
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from benchmark.files import read_json
from benchmark.settings import Preparation, Resampling

TOTALSEG = get_dataset("totalseg")
sides = st.floats(0.3, 12)


def planned(**changes: object) -> Preparation:
    values = {"spacing": "planned", "crop": "nonzero", "normalise": "zscore_planned", "resampling": Resampling()}
    return Preparation(**(values | changes))


def facts(spacing=(5.0, 1.0, 1.0), shape=(20, 200, 200), kept=0.9, case="a", values=(1.0,)) -> CaseFacts:
    return CaseFacts(case, spacing, shape, kept, (distinct(np.array(values, np.float32)),))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(sides, sides, sides), min_size=1, max_size=6),
    st.tuples(*[st.integers(4, 600)] * 3),
    st.sampled_from([(1, 1, 1), (6, 1, 1), (1, 7, 1)]),
)
def test_target_spacing_is_that_of_nnunetv2(spacings, shape, stretch):
    spacings = np.array(spacings) * stretch
    shapes = [np.array(shape) + number for number in range(len(spacings))]
    planner = SimpleNamespace(
        overwrite_target_spacing=None,
        anisotropy_threshold=3,
        dataset_fingerprint={"spacings": spacings, "shapes_after_crop": shapes},
    )
    expected = ExperimentPlanner.determine_fullres_target_spacing(planner)
    np.testing.assert_array_equal(target_spacing(spacings, np.array(shapes, float)), expected)


def test_target_spacing_by_hand():
    """Ten of eleven cases with 10 mm slices, one with 5: the median is 10, the 10th percentile of the axis decides."""
    spacings = np.array([[10, 1.5, 1.5]] * 9 + [[5, 1.5, 1.5]] * 2)
    few, many = np.array([[9, 200, 200]] * 11), np.array([[90, 200, 200]] * 11)
    np.testing.assert_array_equal(target_spacing(spacings, few), [5, 1.5, 1.5])
    np.testing.assert_array_equal(target_spacing(spacings, many), [10, 1.5, 1.5])  # too many slices to be special
    finer = np.where(spacings == 5, 1.0, spacings)
    np.testing.assert_allclose(target_spacing(finer, few), [1.5 + 1e-5, 1.5, 1.5], rtol=1e-12)


def test_the_mask_is_for_large_crops_and_the_slices_for_the_coarsest_axis():
    for kept, mask in ((0.74, True), (0.75, False)):
        plan = make_plan([facts(kept=kept)], planned(), spatial_dims=3, channels=1, classes=1)
        assert plan.mask == mask
    assert plan.spacing == (1, 1, 5) and plan.slice_axis == 2  # nnU-Net's first axis is the last of ours
    assert (
        make_plan([facts((1.0, 1.0, 1.0))], planned(), spatial_dims=3, channels=1, classes=1).slice_axis == 2
    )  # a tie
    assert make_plan([facts((1.0, 2.0, 1.0))], planned(), spatial_dims=3, channels=1, classes=1).slice_axis == 1
    ct = planned(normalise="ct_global")
    assert not make_plan([facts(kept=0.2)], ct, spatial_dims=3, channels=1, classes=1).mask
    picture = make_plan([facts((999.0, 1.0, 1.0), (1, 30, 40))], planned(), spatial_dims=2, channels=3, classes=1)
    assert picture.spacing == (1, 1) and picture.slice_axis is None


def test_a_given_spacing_is_not_planned():
    plan = make_plan(
        [facts()], planned(spacing=(1, 1, 1), normalise="ct_global"), spatial_dims=3, channels=1, classes=1
    )
    assert plan.spacing is None and plan.intensities[0].mean == 1


# Spacing and median shape of the medical decathlon and ACDC; nnU-Net's patch at full resolution (also in MONAI's
# DynUNet tutorial) and in the first stage, from the supplement of nnU-Net's paper (Nature Methods 2021). None: there is
# one stage.
PUBLISHED = {
    "brain": ((1, 1, 1), (138, 169, 138), 4, 3, (128, 128, 128), None),
    "heart": ((1.37, 1.25, 1.25), (115, 320, 232), 1, 1, (80, 192, 160), None),
    "liver": ((1, 0.767578125, 0.767578125), (482, 512, 512), 1, 2, (128, 128, 128), (128, 128, 128)),
    "hippocampus": ((1, 1, 1), (36, 50, 35), 1, 2, (40, 56, 40), None),
    "prostate": ((3.6, 0.62, 0.62), (20, 320, 319), 2, 2, (20, 320, 256), None),
    "lung": ((1.24, 0.79, 0.79), (252, 512, 512), 1, 1, (80, 192, 160), (80, 192, 160)),
    "pancreas": ((2.5, 0.8, 0.8), (96, 512, 512), 1, 2, (40, 224, 224), (64, 192, 192)),
    "vessel": ((1.5, 0.8, 0.8), (150, 494, 494), 1, 2, (64, 192, 192), (64, 192, 192)),
    "colon": ((3, 0.78, 0.78), (150, 512, 512), 1, 1, (56, 192, 160), (96, 160, 160)),
    "acdc": ((5, 1.56, 1.56), (18, 237, 208), 1, 3, (20, 256, 224), None),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_first_stage_of_nnunet_1(name):
    spacing, shape, channels, classes, full, first = PUBLISHED[name]
    spacing, shape = np.array(spacing, float), np.array(shape, float)
    assert planned_patch(spacing, shape, channels, classes) == full
    stage = np.array(first_stage_spacing(spacing, shape, channels=channels, classes=classes))
    if first is None:
        np.testing.assert_array_equal(stage, spacing)
        return
    coarse = np.round(spacing / stage * shape)
    assert planned_patch(stage, coarse, channels, classes) == first
    voxels = np.prod(spacing / stage * shape) / np.prod(first)
    assert voxels <= 4 and 2 * coarse.prod() < shape.prod()
    steps = np.log(stage / spacing) / np.log(1.01)
    np.testing.assert_allclose(steps, steps.round(), atol=1e-6)


def test_the_first_stage_of_the_liver_is_the_published_one():
    spacing = first_stage_spacing(np.array([1, 0.7676, 0.7676]), np.array([482.0, 512, 512]), channels=1, classes=2)
    np.testing.assert_allclose(spacing, [2.47, 1.90, 1.90], atol=0.005)


def test_a_plan_of_the_first_stage_is_in_our_axis_order():
    liver = facts((1.0, 0.7676, 0.7676), (482, 512, 512), values=range(9))
    settings_ = planned(spacing="planned_first_stage", resampling=Resampling(rules="1.7"))
    plan = make_plan([liver], settings_, spatial_dims=3, channels=1, classes=2)
    np.testing.assert_allclose(plan.spacing, [1.90, 1.90, 2.47], atol=0.005)
    assert plan.slice_axis == 2


def test_estimated_memory_by_hand():
    """Two poolings of an 8³ patch: 5 maps of 32 features, input and 3 outputs; 5 of 64 at 4³; 2 of 128 at 2³."""
    expected = 512 * (5 * 32 + 1 + 3) + 64 * 5 * 64 + 8 * 2 * 128
    assert estimated_memory((8, 8, 8), [(2, 2, 2), (2, 2, 2)], 1, 3) == expected


def test_a_plan_is_kept_until_cases_or_settings_change(raw_root, tmp_path, monkeypatch):
    cases, path = TOTALSEG.find_cases(raw_root)[:2], tmp_path / "fingerprint.json"

    drawn = planned(normalise="ct_global")

    def plan(preparation=drawn, content="raw"):
        return plan_for(TOTALSEG, cases, preparation, labels=None, content=content, path=path, processes=1)

    monkeypatch.setattr("benchmark.data.fingerprint.DRAWN_VOXELS", 1000)
    first = plan()
    assert first.spacing == (1.5, 1.5, 1.5) and first.intensities[0].minimum < first.intensities[0].maximum
    written = read_json(path)
    assert written["plan"] == first.model_dump(mode="json") and list(written["cases"]) == ["s0000", "s0001"]
    assert written["cases"]["s0000"]["spacing"] == [1.5, 1.5, 1.5]
    monkeypatch.setattr("benchmark.data.plan.case_facts", lambda _: pytest.fail("looked at again"))
    assert plan() == first
    with pytest.raises(pytest.fail.Exception, match="looked at again"):
        plan(content="other raw files")
    with pytest.raises(pytest.fail.Exception, match="looked at again"):
        plan(planned(normalise="ct_global", resampling=Resampling(rules="1.7")))


def test_without_training_cases_or_foreground_there_is_no_plan(raw_root, tmp_path):
    path = tmp_path / "fingerprint.json"
    with pytest.raises(InputError, match="no training case to plan from"):
        plan_for(TOTALSEG, [], planned(), labels=None, content="", path=path)
    ct = planned(normalise="ct_global", resampling=Resampling(rules="1.7"))
    with pytest.raises(InputError, match="no training case has a labelled voxel"):
        plan_for(TOTALSEG, TOTALSEG.find_cases(raw_root), ct, labels=("brain",), content="", path=path, processes=1)
    assert not path.exists()


def test_a_planned_store_is_the_same_from_any_number_of_processes(raw_root, tmp_path):
    split = make_split(TOTALSEG, TOTALSEG.find_cases(raw_root), kind="local")
    preparation = planned(normalise="ct_global", resampling=Resampling(rules="1.7"), outside="ignored")
    infos = [
        prepare(TOTALSEG, raw_root, split, preparation, out=tmp_path / f"{n}/prepared.json", processes=n)
        for n in (1, 2)
    ]
    assert infos[0] == infos[1] and infos[0]["plan"]["spacing"] == [1.5, 1.5, 1.5]
    assert (tmp_path / "1/fingerprint.json").read_bytes() == (tmp_path / "2/fingerprint.json").read_bytes()
    one, two = (PreparedStore(tmp_path / name).open("s0002") for name in "12")
    assert np.array_equal(one.image[:], two.image[:]) and one.meta == two.meta


def test_another_plan_prepares_the_cases_anew(raw_root, tmp_path, monkeypatch):
    done = []
    real = module.prepare_case
    monkeypatch.setattr(module, "prepare_case", lambda task: done.append(task.case.id) or real(task))
    cases = TOTALSEG.find_cases(raw_root)
    preparation = planned(normalise="ct_global", resampling=Resampling(rules="1.7"))
    split = make_split(TOTALSEG, cases, kind="local")
    for _ in range(2):
        prepare(TOTALSEG, raw_root, split, preparation, out=tmp_path / "prepared.json", processes=1)
    assert done == ["s0000", "s0001", "s0002"]
    fewer = split | {"train": ["s0000"], "val": ["s0001"]}
    prepare(TOTALSEG, raw_root, fewer, preparation, out=tmp_path / "prepared.json", processes=1)
    assert len(done) == 6


def test_slices_along_another_axis_than_the_plans_are_refused(raw_root, tmp_path):
    split = make_split(TOTALSEG, TOTALSEG.find_cases(raw_root), kind="local")
    for axis in (0, 2):
        options = {"out": tmp_path / "prepared.json", "processes": 1, "planes": axis}
        if axis == 2:
            prepare(TOTALSEG, raw_root, split, planned(spacing="planned_in_plane"), **options)
        else:
            with pytest.raises(InputError, match=r"inference\.slice_axis: 2"):
                prepare(TOTALSEG, raw_root, split, planned(spacing="planned_in_plane"), **options)
