"""MedicalNet's crop, intensities and noise: against scipy and numpy on its steps, and values by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import ndimage

from benchmark.data.crop_around_labels import box_around, box_of_content, crop_around_labels
from benchmark.data.resizing import standardise_positive
from benchmark.data.sampling import SAMPLE_STREAM, PatchDataset
from benchmark.inference.slices import fit_slice
from benchmark.settings import Inference, Optimiser, Resize, Sampling, Schedule, Training

ZOOM = Resize(image="zoom0", labels="zoom0")
RECIPE = Sampling(strategy="whole", box="around_labels", slice_range="zscore_positive", resize=ZOOM)
AIR, BODY = -1024, (slice(2, 23), slice(1, 18), slice(0, 15))  # the crop loses the body's last plane
LABELLED = (slice(8, 15), slice(6, 13), slice(5, 10))


def training(patch: tuple[int, ...] = (9, 8, 7), sampling: Sampling = RECIPE) -> Training:
    optimiser, schedule = Optimiser(name="sgd", learning_rate=1), Schedule(name="constant")
    return Training(patch=patch, batch=1, epochs=20, optimiser=optimiser, schedule=schedule, sampling=sampling)


@pytest.fixture
def case() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    image, labels = np.full((1, 24, 20, 16), AIR, np.float32), np.zeros((24, 20, 16), np.uint8)
    image[0][BODY] = generator.integers(-3, 9, image[0][BODY].shape)
    labels[LABELLED] = generator.integers(1, 4, labels[LABELLED].shape)
    return image, labels


@pytest.mark.parametrize(
    ("first", "last", "side", "draws", "expected"),
    [
        (10, 20, 40, (0.0, 0.0), (0, 40)),
        (10, 20, 40, (0.5, 0.5), (2, 32)),  # 5 · 0.5; 40 - 15 · 0.5 = 32.5
        (10, 20, 40, (0.999, 0.999), (4, 25)),  # up to half of the extent of 10 from the labels
        (2, 12, 14, (0.7, 0.7), (0, 14)),  # that would be outside
        (9, 10, 20, (0.999, 0.999), (8, 10)),  # 8.4915, 10.5095: the last labelled plane is lost
        (7, 7, 20, (0.5, 0.5), (3, 13)),
        (7, 7, 20, (0.999, 0.999), (6, 7)),  # 20 - 13 · 0.999 = 7.013: the labelled plane is lost
        (0, 0, 20, (0.3, 0.999), (0, 1)),  # 0.019: nothing would be left
    ],
)
def test_the_box_by_hand(first, last, side, draws, expected):
    draws = [np.array([draw]) for draw in draws]
    assert box_around([first], [last], [side], *draws) == ([expected[0]], [expected[1]])


def test_the_content_is_what_differs_from_the_first_voxel():
    image = np.full((2, 6, 7, 5), -5.0, np.float32)
    assert box_of_content(image) == ([0, 0, 0], [6, 7, 5])
    image[0, 1:4, 2:6, 3] = 1
    assert box_of_content(image) == ([1, 2, 3], [3, 5, 4])  # without the last plane, unless it is the only one
    image[1, 5, 0, 0] = 1
    assert box_of_content(image) == ([1, 0, 0], [5, 5, 3])


def test_a_sample_is_the_released_steps_on_the_same_draws(case, make_store):
    (image, labels), patch, seen = case, (9, 8, 7), set()
    samples = PatchDataset(make_store({"a": case}), ["a"], training(patch), seed=3)
    inner = tuple(slice(side.start, side.stop - 1) for side in BODY)
    first = np.array([a.start - b.start for a, b in zip(LABELLED, inner, strict=True)])
    extent = np.array([side.stop - side.start - 1 for side in LABELLED])
    sides = np.array([side.stop - side.start for side in inner])
    for index in range(6):
        draws = np.random.default_rng((3, SAMPLE_STREAM, index))
        start = np.maximum(0, np.trunc((first - extent / 2) * draws.random(3))).astype(int)
        stop = np.minimum(sides, np.trunc(sides - (sides - (first + extent * 1.5)) * draws.random(3))).astype(int)
        box = tuple(slice(*ends) for ends in zip(start, stop, strict=True))
        seen.add((*start, *stop))
        factors = np.array(patch) / (stop - start)
        zoomed = ndimage.zoom(image[0][inner][box], factors, order=0)
        expected = (zoomed - zoomed[zoomed > 0].mean()) / zoomed[zoomed > 0].std()
        expected[zoomed == 0] = draws.standard_normal((zoomed == 0).sum())
        found, found_labels = samples[index]
        np.testing.assert_allclose(found[0], expected, atol=1e-5)
        np.testing.assert_array_equal(found_labels, ndimage.zoom(labels[inner][box], factors, order=0))
    assert len(seen) == 6


def test_without_labels_the_content_is_seen(case):
    image, labels = case
    seen, none = crop_around_labels(image, np.where(labels > 0, 255, 0).astype(np.uint8), np.random.default_rng(0))
    assert seen.shape[1:] == none.shape == (20, 16, 14)


def test_a_prediction_sees_the_whole_volume_and_always_the_same_noise(case):
    image, size = case[0], (11, 10, 8)
    settings = Inference(method="whole", slice_range="zscore_positive", resize=ZOOM)
    found = fit_slice(image, size, settings)
    zoomed = ndimage.zoom(image[0], np.array(size) / image.shape[1:], order=0)
    empty = zoomed == 0
    expected = (zoomed - zoomed[zoomed > 0].mean()) / zoomed[zoomed > 0].std()
    np.testing.assert_allclose(found[0][~empty], expected[~empty], atol=1e-5)
    assert np.array_equal(found, fit_slice(image, size, settings)) and len(set(found[0][empty])) == empty.sum() > 9


def test_where_there_is_no_mean_or_deviation():
    image = np.stack([np.full((40, 50), -2.0), np.where(np.arange(2000) % 2, 5.0, 0.0).reshape(40, 50)])
    negative, even = standardise_positive(image.astype(np.float32), np.random.default_rng(0))
    assert (negative == -2).all() and not even[image[1] > 0].any()
    noise = even[image[1] == 0]  # a thousand draws
    assert abs(noise.mean()) < 4 / np.sqrt(1000) and abs(noise.std() - 1) < 4 / np.sqrt(2000)


@pytest.mark.parametrize(
    ("patch", "sampling", "message"),
    [
        ((8, 8), {}, "sampling.box is of whole volumes"),
        ((8, 8, 8), {"strategy": "foreground_voxel"}, "sampling.box is of whole volumes"),
        ((8, 8, 8), {"margin": 4.0}, "choose one"),
    ],
)
def test_it_is_of_whole_volumes(patch, sampling, message):
    with pytest.raises(ValidationError, match=message):
        training(patch, Sampling(**{**RECIPE.model_dump(), **sampling}))
