"""TotalSegmentator's phantom: 117 structures in their places, whole and cropped bodies in every split."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.data.phantoms import Subject, get_phantom, write
from benchmark.data.phantoms.anatomy import read_anatomy
from benchmark.data.phantoms.totalseg import CROPPED, generate
from benchmark.datasets import get_dataset

TOTALSEG = get_dataset("totalseg")
NUMBERS = TOTALSEG.class_numbers
PHANTOM = get_phantom("totalseg")


@pytest.fixture(scope="module")
def whole_body():
    return generate(Subject("s0000", "train", 0), spacing=5.0)


def centre(labels: np.ndarray, name: str) -> np.ndarray:
    return np.argwhere(labels == NUMBERS[name]).mean(axis=0)


def test_the_torso_has_each_structure_once():
    structures = read_anatomy("totalseg").structures
    assert sorted(structure.name for structure in structures) == sorted(TOTALSEG.label_names)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_whole_body_has_every_structure(seed):
    _, labels, _ = generate(Subject("s0000", "train", seed), spacing=PHANTOM.spacing)
    counts = np.bincount(labels.reshape(-1), minlength=118)
    assert len(counts) == 118 and counts[1:].min() >= 5


def test_the_same_seed_gives_the_same_scan_and_another_does_not(whole_body):
    again = generate(Subject("s0099", "test", 0), spacing=5.0)
    assert all(np.array_equal(a, b) for a, b in zip(whole_body, again, strict=True))
    other = generate(Subject("s0000", "train", 1), spacing=5.0)
    labels, found = whole_body[1], at_the_places_of(whole_body, other)
    overlap = 2 * ((found > 0) & (found == labels)).sum() / ((found > 0).sum() + (labels > 0).sum())
    assert 0.5 < overlap < 0.95  # one anatomy, different people


def at_the_places_of(scan, other):
    """Labels of the other scan, at the millimetres of this one's voxels; 0 where it does not reach."""
    (_, labels, affine), (_, found, placed) = scan, other
    steps = [np.arange(side) + round((affine - placed)[axis, 3] / 5.0) for axis, side in enumerate(labels.shape)]
    inside = [(step >= 0) & (step < side) for step, side in zip(steps, found.shape, strict=True)]
    result = np.zeros_like(labels)
    result[np.ix_(*inside)] = found[np.ix_(*(step[kept] for step, kept in zip(steps, inside, strict=True)))]
    return result


def test_fields_of_view_differ_and_hold_the_trunk():
    """So that the same place in two scans is not the same place in two bodies."""
    scans = [generate(Subject("s0000", "train", seed), spacing=20.0) for seed in range(8)]
    sizes = np.array([image.shape for image, _, _ in scans]) * 20.0
    low = np.array([affine[:3, 3] for _, _, affine in scans]) - 10.0
    shares = -low[:, :2] / sizes[:, :2]  # where the middle of the body lies
    assert np.ptp(sizes, axis=0).min() > 40 and np.ptp(shares, axis=0).min() > 0.08
    assert (low[:, 0] < -170).all() and (low[:, 0] + sizes[:, 0] > 170).all()


def test_anatomy(whole_body):
    """RAS: x grows to the right, y to the front, z to the head."""
    _, labels, affine = whole_body
    assert (np.diag(affine)[:3] > 0).all()
    at = {name: centre(labels, name) for name in TOTALSEG.label_names}
    assert at["liver"][0] > at["spleen"][0] and at["kidney_right"][0] > at["kidney_left"][0]
    assert at["sternum"][1] > at["heart"][1] > at["vertebrae_T7"][1]
    levels = ["sacrum", "vertebrae_S1", *(f"vertebrae_L{k}" for k in range(5, 0, -1))]
    levels += [f"vertebrae_T{k}" for k in range(12, 0, -1)] + [f"vertebrae_C{k}" for k in range(7, 0, -1)]
    heights = [at[name][2] for name in levels]
    assert heights == sorted(heights) and at["brain"][2] > heights[-1]
    for side, sign in (("right", 1), ("left", -1)):
        ribs = [at[f"rib_{side}_{k}"] for k in range(1, 13)]
        assert [rib[2] for rib in ribs] == sorted((rib[2] for rib in ribs), reverse=True)
        assert all(sign * (rib[0] - at["spinal_cord"][0]) > 0 for rib in ribs)


def test_hounsfield_units_are_plausible(whole_body):
    image, labels, _ = whole_body
    assert image.dtype == np.int16 and image.min() >= -1024
    mean = {name: image[labels == number].mean() for name, number in NUMBERS.items()}
    assert mean["lung_upper_lobe_right"] < -600 and mean["trachea"] < -500
    assert 0 < mean["liver"] < 150 and mean["aorta"] > 150 and mean["femur_left"] > 300
    air = image[labels == 0].min()
    assert air < -950 and 5 < image[labels == NUMBERS["liver"]].std() < 60


def test_the_plan_has_whole_and_cropped_scans_in_train_and_test():
    plan = PHANTOM.plan(14)
    for split, count in (("train", 8), ("val", 2), ("test", 4)):
        kinds = [subject.kind for subject in plan if subject.split == split]
        assert len(kinds) == count and {CROPPED, ""} == set(kinds)
    assert len({subject.seed for subject in plan}) == 14


def test_the_reader_tells_whole_from_cropped_as_the_figure_needs_it(tmp_path):
    root = tmp_path / "phantom"
    write(PHANTOM, root, subjects=6, spacing=9.0, processes=1)
    cases = TOTALSEG.find_cases(root)
    for subject, case in zip(PHANTOM.plan(6), cases, strict=True):
        merged, _, overlaps = TOTALSEG.read_labels(case)
        counts = dict(zip(TOTALSEG.label_names, np.bincount(merged.reshape(-1), minlength=118)[1:], strict=True))
        body = TOTALSEG.describe(counts, [side * 9.0 for side in merged.shape])["body"]
        assert overlaps == 0 and case.split == subject.split
        assert body == ("partial" if subject.kind == CROPPED else "entire"), case.id
