"""Whole images at another size, against torch and scipy; ranges against the released preparation of ACDC."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import transform
from torch.nn.functional import interpolate

from benchmark.data.normalisation import normalise
from benchmark.data.resizing import rescale_to_unit, resize_channels, resize_labels, standardise
from benchmark.data.sampling import PatchDataset
from benchmark.inference.slices import fit_slice
from benchmark.settings import Inference, Optimiser, Preparation, Resize, Sampling, Schedule, Training

# scipy fills the last row of 16 → 59 and 30 → 8: there rounding takes its position over the border
SIZES = [
    ((16, 30), (59, 8)),
    ((17, 30), (24, 24)),
    ((40, 36), (13, 50)),
    ((5, 9), (5, 9)),
    ((7, 1), (3, 4)),
    ((512, 20), (224, 7)),
]


def whole_slices(patch: tuple[int, int], **sampling) -> Training:
    return Training(
        patch=patch,
        batch=1,
        epochs=1,
        optimiser=Optimiser(name="sgd", learning_rate=1),
        schedule=Schedule(name="poly"),
        sampling=Sampling(strategy="whole", **sampling),
    )


@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_torchs_modes(shape, size):
    generator = np.random.default_rng(0)
    image = generator.random((2, *shape), dtype=np.float32)
    labels = generator.integers(9, size=shape).astype(np.uint8)
    expected = interpolate(torch.from_numpy(image)[None], size, mode="bilinear", align_corners=False)[0]
    assert np.allclose(resize_channels(image, size, Resize()), expected, atol=1e-4)  # torch rounds positions to float32
    expected = interpolate(torch.from_numpy(labels)[None, None].float(), size, mode="nearest")[0, 0]
    assert np.array_equal(resize_labels(labels, size, Resize(labels="floor")), expected)
    expected = interpolate(torch.from_numpy(image)[None], size, mode="nearest")[0]
    assert np.array_equal(resize_channels(image, size, Resize(image="floor")), expected)


def test_floor_is_torchs_nearest_for_all_sizes():
    for side in range(1, 70):
        for size in range(1, 70):
            line = np.arange(side, dtype=np.uint8)
            expected = interpolate(torch.from_numpy(line)[None, None].float(), size, mode="nearest")[0, 0]
            assert np.array_equal(resize_labels(line, [size], Resize(labels="floor")), expected)


@pytest.mark.parametrize(("shape", "size"), [*SIZES, ((13, 20, 9), (20, 16, 10))])
def test_cubic_and_nearest_are_skimages(shape, size):
    """As Liu's resizes volumes and labels."""
    generator = np.random.default_rng(0)
    image, labels = generator.random((2, *shape), dtype=np.float32), generator.integers(9, size=shape).astype(np.uint8)
    expected = [transform.resize(channel, size, order=3, mode="edge", anti_aliasing=False) for channel in image]
    np.testing.assert_allclose(resize_channels(image, size, Resize(image="cubic")), expected, atol=1e-5)
    ratios = [(side, large, place) for side, large in zip(shape, size, strict=True) for place in range(large)]
    if all((2 * place + 1) * side % (2 * large) for side, large, place in ratios):  # none lies between two voxels
        near = transform.resize(labels.astype(float), size, order=0, mode="edge", anti_aliasing=False)
        assert np.array_equal(resize_labels(labels, size, Resize()), near)


@pytest.mark.parametrize(("shape", "size"), SIZES)
@pytest.mark.parametrize("order", [0, 1, 3])
def test_zoom_is_scipys(shape, size, order):
    image = np.random.default_rng(0).random((2, *shape), dtype=np.float32)
    factors = [after / before for before, after in zip(shape, size, strict=True)]
    resized = resize_channels(image, size, Resize(image=f"zoom{order}"))
    assert resized.dtype == np.float32 and resized.shape == (2, *size)
    for channel, result in zip(image, resized, strict=True):
        assert np.array_equal(result, ndimage.zoom(channel, factors, order=order))


def test_a_size_in_between(make_store):
    generator = np.random.default_rng(0)
    image, labels = generator.random((1, 30, 26, 2), dtype=np.float32), generator.integers(4, size=(30, 26, 2))
    store = make_store({"a": (image, labels)})
    how = Resize(image="zoom3", labels="zoom0", through=(20, 18))
    training = whole_slices((32, 32), resize=how)
    dataset = PatchDataset(store, ["a"], training, seed=0)
    for index in range(2):
        number = dataset.sample_of(index).slice
        small = ndimage.zoom(image[0, :, :, number], (20 / 30, 18 / 26), order=3)
        assert np.array_equal(dataset[index][0][0], ndimage.zoom(small, (32 / 20, 32 / 18), order=3))
        small = ndimage.zoom(store.open("a").labels[:, :, number], (20 / 30, 18 / 26), order=0)
        assert np.array_equal(dataset[index][1], ndimage.zoom(small, (32 / 20, 32 / 18), order=0))


@pytest.mark.parity
def test_acdc_has_two_ranges(parity_around, make_store):
    facts = parity_around("prep_acdc")
    volume = facts["volume"].numpy().astype(np.float32)
    prepared = volume[None].copy()
    normalise(prepared, Preparation(normalise="unit"))
    assert np.array_equal(prepared[0], facts["ssl4mis_per_volume_min_max"].numpy())
    for number, expected in enumerate(facts["per_slice_min_max"].numpy()):
        assert np.array_equal(rescale_to_unit(volume[number][None])[0], expected)
    # what a network trains on: the volume's range in the store, each slice's own when it is read
    store = make_store({"a": (prepared, facts["label"].numpy())})
    training = whole_slices(volume.shape[1:], slice_range="unit")
    dataset = PatchDataset(store, ["a"], training, seed=0, slice_axis=0)
    for index in range(len(volume)):
        expected = facts["per_slice_min_max"][dataset.sample_of(index).slice]
        torch.testing.assert_close(dataset[index][0][0], expected, rtol=0, atol=2e-7)


def test_a_constant_channel_becomes_zero():
    image = np.stack([np.full((3, 4), 7.0), np.arange(12.0).reshape(3, 4)]).astype(np.float32)
    assert not rescale_to_unit(image)[0].any() and rescale_to_unit(image)[1].max() == 1


def test_standardised_channels():
    image = np.random.default_rng(0).normal(40, 300, (2, 9, 8, 7)).astype(np.float32)
    found = standardise(image)
    for channel, before in zip(found, image.astype(np.float64), strict=True):
        np.testing.assert_allclose(channel, (before - before.mean()) / before.std(), atol=1e-5)
    assert found.dtype == np.float32 and not standardise(np.full((1, 3, 4), 7.0, np.float32)).any()


@pytest.mark.parametrize("shape", [(12, 10, 14), (9, 16, 7)])
def test_a_volume_is_standardised_once_it_has_the_size_of_the_network(make_store, shape):
    """In training as skimage resizes it, in prediction as torch does (Liu's)."""
    volume = np.random.default_rng(0).normal(40, 300, shape).astype(np.float32)
    store, size = make_store({"a": (volume[None], np.ones(shape, np.uint8))}), (8, 6, 10)
    training = whole_slices(size, slice_range="zscore", resize=Resize(image="cubic"))
    small = transform.resize(volume, size, order=3, mode="edge", anti_aliasing=False)
    image, _ = PatchDataset(store, ["a"], training, seed=0)[0]
    np.testing.assert_allclose(image[0], (small - small.mean()) / (small.std() + 1e-5), atol=1e-4)
    small = interpolate(torch.from_numpy(volume)[None, None], size, mode="trilinear", align_corners=False)[0]
    found = fit_slice(volume[None], size, Inference(method="whole", slice_range="zscore"))
    np.testing.assert_allclose(found, (small - small.mean()) / small.std(correction=0), atol=1e-4)
