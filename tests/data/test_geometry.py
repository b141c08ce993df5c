"""The way to the prepared grid and back, against SimpleITK, nibabel and MONAI."""

from __future__ import annotations

from fractions import Fraction

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import CropForeground
from nibabel import orientations

from benchmark.data import geometry
from benchmark.data.normalisation import normalise
from benchmark.data.prepared_grid import to_prepared_grid
from benchmark.settings import Preparation

ORIENTATIONS = ["RAS", "LAS", "LPS", "PIR", "SAL", "ILA"]


def affine_of(codes: str, spacing=(1.0, 1.0, 1.0)) -> np.ndarray:
    """An affine with these axis codes."""
    affine = np.zeros((4, 4))
    for axis, (world, sign) in enumerate(orientations.axcodes2ornt(codes)):
        affine[int(world), axis] = sign * spacing[axis]
    affine[:, 3] = [12, -7, 30, 1]
    return affine


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_reorienting_agrees_with_nibabel_and_comes_back(codes):
    array = np.random.default_rng(0).integers(0, 99, (5, 6, 7)).astype(np.uint8)
    affine = affine_of(codes, (1.0, 2.0, 3.0))
    assert geometry.axis_codes(affine) == codes
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(array, affine))
    upright = geometry.reorient(array, codes, "RAS")
    assert np.array_equal(upright, np.asarray(canonical.dataobj))
    np.testing.assert_allclose(geometry.reordered((1.0, 2.0, 3.0), codes, "RAS"), canonical.header.get_zooms())
    assert np.array_equal(geometry.reorient(upright, "RAS", codes), array)


def reference_grid(array: np.ndarray, spacing, shape) -> tuple[SimpleITK.Image, SimpleITK.Image]:
    """`array` as an image, and the grid of `shape` over the same field of view."""
    image = SimpleITK.GetImageFromArray(array.transpose())  # SimpleITK's first axis is the last of its array
    image.SetSpacing(spacing)
    grid = SimpleITK.Image([int(side) for side in shape], image.GetPixelID())
    new = [mm * old / side for mm, old, side in zip(spacing, array.shape, shape, strict=True)]
    grid.SetSpacing(new)
    grid.SetOrigin([(b - a) / 2 for a, b in zip(spacing, new, strict=True)])
    return image, grid


@pytest.mark.parametrize("target", [(1.5, 1.5, 1.5), (0.7, 2.0, 5.0), (3.0, 1.0, 2.5)])
def test_resampling_agrees_with_simpleitk(target):
    generator = np.random.default_rng(1)
    spacing, array = (1.0, 2.0, 2.5), generator.random((21, 13, 9)).astype(np.float32)
    shape = geometry.resampled_shape(array.shape, spacing, target)
    image, grid = reference_grid(array, spacing, shape)
    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetReferenceImage(grid)
    resampler.SetUseNearestNeighborExtrapolator(True)
    resampler.SetInterpolator(SimpleITK.sitkLinear)
    expected = SimpleITK.GetArrayFromImage(resampler.Execute(image)).transpose()
    ours = geometry.resize_linear(array, shape)
    assert ours.shape == shape == expected.shape
    inside = tuple(slice(2, -2) for _ in shape)  # SimpleITK extrapolates beyond the outermost voxel centres otherwise
    np.testing.assert_allclose(ours[inside], expected[inside], atol=2e-6)
    torch_version = torch.nn.functional.interpolate(
        torch.from_numpy(array)[None, None], shape, mode="trilinear", align_corners=False
    )
    np.testing.assert_allclose(ours, torch_version[0, 0].numpy(), atol=2e-6)


@pytest.mark.parametrize("target", [(1.4, 1.3, 1.7), (0.71, 1.9, 5.1)])
def test_resampling_labels_agrees_with_simpleitk(target):
    labels = np.random.default_rng(2).integers(0, 9, (21, 13, 9)).astype(np.uint8)
    spacing = (1.0, 2.0, 2.5)
    shape = geometry.resampled_shape(labels.shape, spacing, target)
    image, grid = reference_grid(labels, spacing, shape)
    expected = SimpleITK.Resample(image, grid, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0.0)
    for side, old in zip(shape, labels.shape, strict=True):  # at a tie either neighbour would be right
        assert not ((2 * np.arange(side) + 1) * old % (2 * side) == 0).any()
    assert np.array_equal(geometry.resize_nearest(labels, shape), SimpleITK.GetArrayFromImage(expected).transpose())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300))
def test_nearest_neighbour_is_exact(side, size):
    """Against exact fractions: floor((j + 1/2) S / O), always inside."""
    rows = geometry.resize_nearest(np.arange(side), (size,))
    assert list(rows) == [int(Fraction(2 * j + 1, 2) * side / size) for j in range(size)]
    assert rows.min() >= 0 and rows.max() < side


@pytest.mark.parametrize("multiple", [None, (8, 8, 8), (5, 16, 3)])
@pytest.mark.parametrize("seed", range(4))
def test_foreground_crop_agrees_with_monai(multiple, seed):
    generator = np.random.default_rng(seed)
    image = np.zeros((1, 20, 19, 23), np.float32)
    low, high = generator.integers(0, 9, 3), generator.integers(10, 19, 3)
    image[0, low[0] : high[0], low[1] : high[1], low[2] : high[2]] = generator.random(high - low) + 0.1
    start, stop = geometry.foreground_box(image, 0.0, multiple)
    crop = CropForeground(margin=0, k_divisible=multiple or 1)
    expected = crop(torch.from_numpy(image)).numpy()
    box_start, box_stop = crop.compute_bounding_box(torch.from_numpy(image))
    assert start == list(box_start) and stop == list(box_stop)
    assert np.array_equal(geometry.crop(image, start, stop), expected)
    back = geometry.uncrop(geometry.crop(image, start, stop)[0], start, image.shape[1:])
    assert np.array_equal(back, image[0])


def test_without_foreground_the_whole_volume_is_kept():
    assert geometry.foreground_box(np.zeros((1, 4, 5, 6)), 0.0) == ([0, 0, 0], [4, 5, 6])
    assert geometry.foreground_box(np.ones((1, 4, 5, 6)), None) == ([0, 0, 0], [4, 5, 6])


def prepared(labels, affine, **changes):
    image = np.where(labels > 0, 100, -1024).astype(np.int16)[None]
    values = {"clip": (-1024, 1024), "foreground_above": 0.0} | changes
    multiple = values.pop("multiple_of", None)
    out = to_prepared_grid(image, labels, affine, preparation=Preparation(**values), multiple_of=multiple)
    meta = {"case": "a", "shape": list(out[1].shape), **out[2]}
    return *out[:2], meta


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("multiple", [None, (8, 8, 8)])
def test_round_trip_without_resampling_is_the_identity(codes, multiple):
    labels = np.zeros((12, 14, 9), np.uint8)
    labels[2:9, 3:11, 4:7] = np.random.default_rng(0).integers(1, 118, (7, 8, 3))
    image, grid_labels, meta = prepared(labels, affine_of(codes), multiple_of=multiple)
    assert image.shape[1:] == grid_labels.shape
    restored = geometry.restore_labels(grid_labels, meta)
    assert restored.dtype == np.uint8 and np.array_equal(restored, labels)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_restoring_a_resampled_prediction_agrees_with_simpleitk(codes):
    """The restored map is what SimpleITK resamples from the prepared grid to the raw one, axis by axis."""
    spacing = (0.8, 1.9, 3.1)
    labels = np.zeros((25, 14, 11), np.uint8)
    labels[2:20, 3:11, 4:9] = np.random.default_rng(0).integers(1, 118, (18, 8, 5))
    _, grid_labels, meta = prepared(labels, affine_of(codes, spacing), spacing=(1.5, 1.5, 1.5), foreground_above=None)
    restored = geometry.restore_labels(grid_labels, meta)
    upright = geometry.reorient(labels, codes, "RAS")
    image, grid = reference_grid(grid_labels, meta["spacing"], upright.shape)
    expected = SimpleITK.Resample(image, grid, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0.0)
    expected = geometry.reorient(SimpleITK.GetArrayFromImage(expected).transpose(), "RAS", codes)
    assert restored.shape == labels.shape
    assert (restored != expected).mean() < 0.01  # ties only
    assert meta["spacing"] == pytest.approx([1.5] * 3, rel=0.06)


def test_a_blob_survives_anisotropic_resampling():
    x, y, z = np.indices((40, 40, 12))
    labels = ((x - 20) ** 2 / 144 + (y - 20) ** 2 / 144 + (z - 6) ** 2 / 16 <= 1).astype(np.uint8)
    _, grid_labels, meta = prepared(labels, affine_of("LPS", (1.0, 1.0, 4.0)), spacing=(1.5, 1.5, 1.5))
    restored = geometry.restore_labels(grid_labels, meta)
    dice = 2 * (restored & labels).sum() / (restored.sum() + labels.sum())
    assert dice > 0.95


def test_a_prediction_of_another_shape_is_refused():
    _, _, meta = prepared(np.ones((4, 4, 4), np.uint8), np.eye(4))
    with pytest.raises(ValueError, match="prepared shape"):
        geometry.restore_labels(np.zeros((4, 4, 3), np.uint8), meta)


@pytest.mark.parametrize(
    ("settings_", "expected"),
    [
        ({"normalise": "unit", "clip": (-1000, 1000)}, lambda x: (np.clip(x, -1000, 1000) + 1000) / 2000),
        ({"normalise": "unit"}, lambda x: (x - x.min()) / (x.max() - x.min())),
        ({"normalise": "symmetric", "clip": (-325, 325)}, lambda x: np.clip(x, -325, 325) / 325),
        ({"normalise": "symmetric"}, lambda x: 2 * (x - x.min()) / (x.max() - x.min()) - 1),
        ({"normalise": "zscore"}, lambda x: (x - x.mean()) / x.std()),
        ({"normalise": "none", "clip": (-5, 5)}, lambda x: np.clip(x, -5, 5)),
    ],
)
def test_normalising(settings_, expected):
    raw = np.random.default_rng(0).integers(-1500, 1500, (2, 5, 6, 7)).astype(np.float32)
    raw[:, :2] = 0
    image = raw.copy()
    normalise(image, Preparation(**settings_))
    for channel, before in zip(image, raw.astype(np.float64), strict=True):
        np.testing.assert_allclose(channel, expected(before), atol=2e-6)


@pytest.mark.parametrize("how", ["unit", "zscore"])
@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_constant_channel_becomes_zero(how, value):
    image = np.full((1, 3, 3, 3), value, np.float32)
    normalise(image, Preparation(normalise=how))
    assert not image.any()


@pytest.mark.parametrize(
    ("raw", "orientation", "prepared"),
    [
        ("LPS", None, None),
        ("LPS", "RAS", "RAS"),
        ("LPS", "axial", "LPS"),
        ("RAI", "axial", "RAI"),
        ("PRS", "axial", "PRS"),  # axial already: nothing moves
        ("LSP", "axial", "LPS"),
        ("RIA", "axial", "RAI"),
        ("ASR", "axial", "RAS"),
        ("SLP", "axial", "LPS"),
    ],
)
def test_axial_moves_axes_and_turns_none(raw, orientation, prepared):
    assert geometry.prepared_codes(raw, orientation) == prepared
