"""nnU-Net's resampling against nnunetv2 and skimage, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.preprocessing.resampling.default_resampling import (
    compute_new_shape,
    determine_do_sep_z_and_axis,
    resample_data_or_seg,
)
from scipy import ndimage
from skimage.transform import resize

from benchmark.data.resampling import (
    PADDING,
    _cubic_taps,
    _interpolate,
    _linear_taps,
    best_resampled,
    planned_shape,
    resample_image,
    resample_labels,
    separate_axis,
)

SIZES = [  # doubled, halved (ties everywhere), odd factors, one slice, one voxel, one axis unchanged
    ((9, 8, 7), (18, 16, 14)),
    ((12, 8, 10), (6, 4, 5)),
    ((11, 7, 5), (13, 3, 9)),
    ((1, 9, 8), (1, 14, 5)),
    ((1, 1, 1), (3, 2, 4)),
    ((7, 6, 5), (7, 9, 4)),
    ((4, 5, 6), (1, 1, 1)),
]
AXES = [None, 0, 1, 2]


def label_map(shape: tuple[int, ...], smooth: bool) -> np.ndarray:
    generator = np.random.default_rng(0)
    if smooth:
        return (ndimage.gaussian_filter(generator.random(shape), 1) * 9).astype(np.int16)
    return generator.integers(-1, 5, shape).astype(np.int16)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize(("old", "new"), SIZES)
@pytest.mark.parametrize("order", [0, 1, 3])
def test_images_are_resampled_as_nnunetv2_does(old, new, order, axis):
    image = (np.random.default_rng(1).standard_normal(old) * 100).astype(np.float32)
    expected = resample_data_or_seg(image[None], new, False, axis, order, axis is not None, 0)[0]
    np.testing.assert_array_equal(resample_image(image, new, order=order, axis=axis), expected)


@settings(max_examples=150, deadline=None)
@given(st.tuples(*[st.integers(1, 11)] * 3), st.tuples(*[st.integers(1, 13)] * 3), st.integers(0, 10**6))
def test_sums_are_scipys_in_float64(old, new, seed):
    """Not only after rounding to float32: ties between classes are decided by the last bit."""
    image = np.random.default_rng(seed).standard_normal(old).astype(np.float32)
    factors = [1 / (a / b) for a, b in zip(old, new, strict=True)]
    for order, source, make in ((1, image, _linear_taps), (3, None, _cubic_taps)):
        expected = ndimage.zoom(image, factors, order=order, mode="nearest", grid_mode=True, output=np.float64)
        if order == 3:
            source = ndimage.spline_filter(np.pad(image, PADDING, mode="edge"), 3, output=np.float64, mode="nearest")
        ours = np.empty(new)
        _interpolate(source, ours, *(make(a, b) for a, b in zip(old, new, strict=True)))
        if old != new:  # scipy copies an image whose shape stays
            np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize(("old", "new"), SIZES)
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("smooth", [True, False])
def test_labels_are_resampled_as_nnunetv2_does(old, new, order, axis, smooth):
    labels = label_map(old, smooth)
    expected = resample_data_or_seg(labels[None].astype(np.float32), new, True, axis, order, axis is not None, 0)[0]
    ours = resample_labels(labels, new, order=order, axis=axis)
    assert ours.dtype == np.int16
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(("old", "new"), SIZES)
@pytest.mark.parametrize("smooth", [True, False])
def test_labels_with_half_of_a_voxel_as_before_batchgenerators_0_25_5(old, new, smooth):
    """The rule of the releases: classes in ascending order overwrite each other where they have at least one half."""
    labels = label_map(old, smooth)
    expected = np.zeros(new, np.int16)
    for label in np.unique(labels):
        share = resize((labels == label).astype(float), new, 1, mode="edge", clip=True, anti_aliasing=False)
        expected[share >= 0.5] = label
    ours = resample_labels(labels, new, order=1, winner_takes_all=False)
    np.testing.assert_array_equal(ours, expected)
    assert not smooth or (ours == resample_labels(labels, new, order=1)).mean() > 0.7


def test_the_rules_differ_where_no_class_has_half_or_two_have():
    quarters = np.arange(1, 5, dtype=np.int16).reshape(1, 2, 2)
    assert resample_labels(quarters, (1, 1, 1), order=1, winner_takes_all=False).item() == 0
    assert resample_labels(quarters, (1, 1, 1), order=1).item() == 4  # all have one quarter: the nearest voxel
    halves = np.array([[[2, 1]]], np.int16)
    assert resample_labels(halves, (1, 1, 1), order=1, winner_takes_all=False).item() == 2
    assert resample_labels(halves, (1, 1, 1), order=1).item() == 1  # the nearest voxel is the second one


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_the_best_of_resampled_scores(old, new, axis):
    scores = np.random.default_rng(2).standard_normal((5, *old)).astype(np.float32)
    expected = resample_data_or_seg(scores.copy(), new, False, axis, 1, axis is not None, 0).argmax(0)
    ours = best_resampled(scores, new, order=1, axis=axis)
    assert ours.dtype == np.uint8
    np.testing.assert_array_equal(ours, expected)


def test_the_first_of_equal_scores_wins():
    assert (best_resampled(np.ones((3, 2, 2, 2), np.float32), (2, 3, 2), order=1) == 0).all()


@pytest.mark.parametrize("spacing", [(5, 1, 1), (1, 1, 5), (3, 1, 1), (3.01, 1, 1), (1, 4, 4), (2, 2, 2), (0.5, 1, 2)])
@pytest.mark.parametrize("other", [(5, 1, 1), (1, 6, 1.5), (2, 2, 2)])
def test_which_axis_is_apart(spacing, other):
    apart, axis = determine_do_sep_z_and_axis(None, spacing, other)
    assert separate_axis(spacing, other, 3) == (axis if apart else None)
    assert separate_axis(spacing, other, None) is None


def test_headers_that_differ_by_rounding_share_the_coarsest_spacing():
    assert separate_axis((0.24, 1.25, 1.2500001), (1, 1, 1), 3) is None


@pytest.mark.parametrize("target", [(1.5, 1.5, 1.5), (3.0, 0.7, 0.7), (0.9, 2.2, 6.0)])
def test_shapes_are_rounded_half_to_even_and_never_empty(target):
    spacing, shape = (3.0, 0.75, 0.75), (39, 117, 2)
    expected = np.maximum(compute_new_shape(shape, spacing, target), 1)
    assert planned_shape(shape, spacing, target) == tuple(expected)
    assert planned_shape((117,), (1.5,), (3.0,)) == (58,) and planned_shape((2,), (0.75,), (6.0,)) == (1,)
