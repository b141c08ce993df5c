"""batchgenerators' transforms: number by number against the library, with its own draws, and the laws of draws."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from batchgenerators.augmentations import color_augmentations as color
from batchgenerators.augmentations import noise_augmentations as noise
from batchgenerators.augmentations.resample_augmentations import augment_linear_downsampling_scipy
from batchgenerators.augmentations.spatial_transformations import augment_spatial
from scipy import ndimage, stats

from benchmark.data.augmentation import build_steps
from benchmark.data.batchgenerators_transforms import (
    AddedBrightness,
    Blur,
    Channelwise,
    Contrast,
    Gamma,
    InPlane,
    LowResolution,
    MultipliedBrightness,
    Noise,
    Transform,
    around_one,
    read_labels,
)
from benchmark.settings import Step

SHAPE = (3, 13, 11, 9)
NONE = np.zeros((1, *SHAPE[1:]), np.uint8)
SEEDS = range(6)


def image(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).normal(2.0, 1.5, shape).astype(np.float32)


class Draws:
    """A generator whose numbers are those of numpy's global one after the same seed, but for the first `skipped` times
    that it is asked for one number in [0, 1): whether something is done at all, which the library's functions that are
    called here do not ask."""

    def __init__(self, seed: int, skipped: int = 1) -> None:
        self.state, self.skipped, self.spans = np.random.RandomState(seed), skipped, {}
        self.normal = self.state.normal

    def random(self, size: tuple[int, ...] | None = None) -> float | np.ndarray:
        if size is None and self.skipped:
            self.skipped -= 1
            return 0.5
        return self.state.random_sample(size)

    def uniform(self, low: float, high: float) -> float:
        self.spans[low, high] = self.state.uniform(low, high)
        return self.spans[low, high]


def ours(transform: Transform, seed: int, given: np.ndarray | None = None) -> np.ndarray:
    always = transform.model_copy(update={"probability": 1.0})
    return always.act(image() if given is None else given, NONE, Draws(seed))[0]


@pytest.fixture
def theirs(monkeypatch) -> Callable[..., np.ndarray]:
    """A function of batchgenerators after seeding; what it draws from `random` comes from numpy's generator too."""
    monkeypatch.setattr(random, "uniform", lambda low, high: np.random.uniform(low, high))

    def call(function: Callable[..., np.ndarray], seed: int, **options) -> np.ndarray:
        np.random.seed(seed)
        return function(image(), **options)

    return call


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("transform", "function", "options"),
    [
        (Blur(name="blur", width=(0.5, 1.0)), noise.augment_gaussian_blur,
         {"sigma_range": (0.5, 1.0), "p_per_channel": 0.5}),
        (AddedBrightness(name="added_brightness", mean=0.3, deviation=0.2), color.augment_brightness_additive,
         {"mu": 0.3, "sigma": 0.2, "p_per_channel": 0.5}),
        (Contrast(name="contrast", factor=(0.6, 1.7)), color.augment_contrast,
         {"contrast_range": (0.6, 1.7)}),
        (LowResolution(name="low_resolution", scale=(0.4, 0.9)), augment_linear_downsampling_scipy,
         {"zoom_range": (0.4, 0.9), "p_per_channel": 0.5, "order_downsample": 0, "order_upsample": 3}),
        (LowResolution(name="low_resolution", kept_axes=(1,)), augment_linear_downsampling_scipy,
         {"p_per_channel": 0.5, "order_downsample": 0, "order_upsample": 3, "ignore_axes": (1,)}),
    ],
    ids=lambda value: value.name if isinstance(value, Transform) else "",
)  # fmt: skip
def test_draw_by_draw_as_the_library(theirs, seed, transform, function, options):
    np.testing.assert_allclose(ours(transform, seed), theirs(function, seed, **options), atol=2e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_is_the_librarys(seed):
    given = image()[:1]  # between two channels the library draws once more
    np.random.seed(seed)
    expected = noise.augment_gaussian_noise(given.copy(), noise_variance=(0.07, 0.07))
    np.testing.assert_allclose(ours(Noise(name="noise", deviation=(0.07, 0.07)), seed, given), expected, atol=1e-6)


def test_noise_has_a_deviation_of_its_own_in_each_sample():
    step, generator = Noise(name="noise", probability=1.0, deviation=(0.0, 0.1)), np.random.default_rng(0)
    spreads = [step.act(np.zeros((2, 20, 20), np.float32), NONE, generator)[0].std(axis=(1, 2)) for _ in range(300)]
    assert stats.kstest(np.mean(spreads, axis=1), stats.uniform(0, 0.1).cdf).pvalue > 1e-3
    assert np.abs(np.diff(spreads, axis=1)).max() < 0.03  # the same in all channels


def test_multiplied_brightness_is_the_librarys(theirs):
    expected = theirs(color.augment_brightness_multiplicative, 0, multiplier_range=(1.2, 1.2))
    found = ours(MultipliedBrightness(name="multiplied_brightness", factor=(1.2, 1.2)), 0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("exponent", [1.0, 1.4])
def test_gamma_is_the_librarys(theirs, inverted, kept, exponent):
    options = {"gamma_range": (exponent, exponent), "invert_image": inverted, "retain_stats": kept, "per_channel": True}
    expected = theirs(color.augment_gamma, 0, **options)
    step = Gamma(name="gamma", exponent=(exponent, exponent), inverted=inverted, keep_statistics=kept)
    np.testing.assert_allclose(ours(step, 0), expected, atol=2e-5)
    if kept:
        np.testing.assert_allclose(expected.mean(axis=(1, 2, 3)), image().mean(axis=(1, 2, 3)), atol=1e-4)
        np.testing.assert_allclose(ours(step, 0).std(axis=(1, 2, 3)), image().std(axis=(1, 2, 3)), atol=1e-4)


def test_gamma_by_hand():
    """Of 0, 1, 4 the square of the share is 0, 1/4, 4; inverted, -4, -1, 0 become -4, -4 + 9/4, 0."""
    given = np.array([[[0.0, 1.0, 4.0]]], np.float32)
    for inverted, middle in ((False, 0.25), (True, 4 - 9 / 4)):
        step = Gamma(name="gamma", exponent=(2, 2), inverted=inverted, keep_statistics=False)
        np.testing.assert_allclose(ours(step, 0, given)[0, 0], [0, middle, 4], atol=1e-5)


def test_a_constant_channel_stays_finite():
    given = np.full((1, 5, 5), 3.0, np.float32)
    for step in (Gamma(name="gamma"), Contrast(name="contrast")):
        np.testing.assert_allclose(ours(step, 1, given), given, atol=1e-5)


def test_numbers_around_one_are_half_below_it():
    generator = np.random.default_rng(0)
    drawn = np.array([around_one((0.7, 1.5), generator) for _ in range(4000)])
    below = drawn[drawn < 1]
    assert abs(len(below) / len(drawn) - 0.5) < 4 * 0.5 / np.sqrt(len(drawn))
    assert stats.kstest(below, stats.uniform(0.7, 0.3).cdf).pvalue > 1e-3
    assert stats.kstest(drawn[drawn >= 1], stats.uniform(1.0, 0.5).cdf).pvalue > 1e-3
    assert all(1.1 <= around_one((1.1, 1.3), generator) <= 1.3 for _ in range(20))


@pytest.mark.parametrize(("share", "channel_share"), [(0.3, 1.0), (1.0, 0.4), (0.5, 0.5)])
def test_shares_of_samples_and_of_channels(share, channel_share):
    generator = np.random.default_rng(0)
    step = AddedBrightness(name="added_brightness", probability=share, channel_probability=channel_share)
    added = np.stack([step.act(np.zeros((4, 1, 1), np.float32), NONE, generator)[0][:, 0, 0] for _ in range(3000)])
    changed = added != 0
    expected = share * channel_share
    assert abs(changed.mean() - expected) < 4 * np.sqrt(share / 3000)
    # channels are drawn by themselves: all four of a changed sample are left with (1 - channel share)^4
    untouched = 1 - share * (1 - (1 - channel_share) ** 4)
    assert abs((~changed.any(axis=1)).mean() - untouched) < 4 * np.sqrt(0.25 / 3000)
    assert stats.kstest(added[changed], stats.norm(0.0, 0.1).cdf).pvalue > 1e-3


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("chosen", ["elastic", "rotation", "scaling", "elastic rotation scaling"])
def test_a_map_in_the_plane_is_the_librarys(chosen, seed, monkeypatch):
    """Image and labels of two classes (the installed library differs where three meet)."""
    shares = {f"{name}_probability": float(name in chosen) for name in ("elastic", "rotation", "scaling")}
    step = InPlane(name="in_plane", displacement=(0, 300), smoothness=(2, 4), scale=(0.6, 1.6), **shares)
    given = ndimage.gaussian_filter(image((2, 40, 32)), (0, 2, 2))
    labels = (given[:1] > 2).astype(np.uint8)
    draws = Draws(seed, skipped=3)
    found, moved = step.act(given, labels, draws)
    assert np.abs(found - given).max() > 0.1 and found.dtype == np.float32 and moved.dtype == np.uint8

    np.random.seed(seed)
    draw, angle = np.random.uniform, np.deg2rad(draws.spans.get((-180.0, 180.0), 0.0))
    monkeypatch.setattr(np.random, "uniform", lambda *span: draw(*span) if span else 0.0)  # it asks: always
    expected, expected_labels = augment_spatial(
        given[None].copy(), labels[None].astype(np.float32), (40, 32), None,
        do_elastic_deform="elastic" in chosen, alpha=(0, 300), sigma=(2, 4),
        do_rotation="rotation" in chosen, angle_x=(angle, angle), do_scale="scaling" in chosen, scale=(0.6, 1.6),
        border_mode_data="constant", order_data=3, border_cval_seg=0, order_seg=1, random_crop=False,
    )  # fmt: skip
    np.testing.assert_allclose(found, expected[0], atol=1e-4)
    np.testing.assert_array_equal(moved, expected_labels[0])


def test_a_turn_by_hand():
    """By a quarter: what is read for row r and column c lies in row c, and in the column as far from the end as r."""
    step = InPlane(name="in_plane", rotation_probability=1.0, elastic_probability=0.0, scaling_probability=0.0)

    class Quarter:
        def random(self) -> float:
            return 0.5

        def uniform(self, low: float, high: float) -> float:
            return 90.0

    places = step.places((5, 5), Quarter())
    rows, columns = np.indices((5, 5))
    np.testing.assert_allclose(places, [columns, 4 - rows], atol=1e-12)


def test_outside_is_zero_and_background():
    step = InPlane(name="in_plane", scale=(2, 2), scaling_probability=1, rotation_probability=0, elastic_probability=0)
    image_, labels = step.act(np.ones((1, 9, 9), np.float32), np.full((1, 9, 9), 7, np.uint8), np.random.default_rng(0))
    inside = np.zeros((9, 9), bool)
    inside[2:7, 2:7] = True
    np.testing.assert_allclose(image_[0], inside, atol=1e-6)
    np.testing.assert_array_equal(labels[0], np.where(inside, 7, 0))


def test_labels_need_half_of_a_pixel_and_the_highest_wins_a_tie():
    labels = np.array([[1, 2], [3, 3]], np.uint8)
    places = np.array([[0.0, 0.5, 0.5, 0.4, 1.0], [0.5, 0.5, 0.0, 0.5, 0.3]])[:, None]
    # 1 | 2 tie; 1/4, 1/4, 1/2; 1 | 3 tie; 0.3, 0.3, 0.4: none has half; 3 alone
    np.testing.assert_array_equal(read_labels(labels, places)[0], [2, 3, 3, 0, 3])


def test_slices_are_channels():
    """Along the chosen axis each slice has its own draws, and one map in the plane moves all of them."""
    (step,) = build_steps(
        [
            Step(
                name="batchgenerators",
                parameters={
                    "slices": 2,
                    "transforms": [{"name": "multiplied_brightness", "probability": 1}],
                },
            )
        ],
        patch=(6, 5, 4),
    )
    given = np.random.default_rng(1).random((2, 6, 5, 4), dtype=np.float32) + 0.5
    labels = np.random.default_rng(2).integers(0, 4, (6, 5, 4)).astype(np.uint8)
    changed, same = step.apply(given, labels, (6, 5, 4), np.random.default_rng(3))
    ratio = changed / given
    assert np.ptp(ratio, axis=(1, 2)).max() < 1e-6 and len(np.unique(ratio[:, 0, 0].round(5))) == 8
    np.testing.assert_array_equal(same, labels)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_all_slices_move_alike(axis):
    parameters = {
        "slices": axis,
        "transforms": [{"name": "in_plane", "rotation_probability": 1, "elastic_probability": 1}],
    }
    (step,) = build_steps([Step(name="batchgenerators", parameters=parameters)], patch=(12, 12, 12))
    plane = ndimage.gaussian_filter(np.random.default_rng(4).random((12, 12)), 1).astype(np.float32)
    volume = np.repeat(np.expand_dims(plane, axis), 12, axis)
    labels = (volume > 0.5).astype(np.uint8)
    moved, moved_labels = step.apply(volume[None], labels, (12, 12, 12), np.random.default_rng(5))
    slices, label_slices = np.moveaxis(moved[0], axis, 0), np.moveaxis(moved_labels, axis, 0)
    assert np.abs(slices - slices[0]).max() == 0 and (label_slices == label_slices[0]).all()
    assert np.abs(slices[0] - plane).max() > 0.05
    places = InPlane(**parameters["transforms"][0]).places((12, 12), np.random.default_rng(5))
    np.testing.assert_allclose(slices[0], ndimage.map_coordinates(plane.astype(float), places, order=3), atol=1e-6)


def test_every_transform_that_acts_on_channels_keeps_type_and_leaves_its_input():
    for kind in Channelwise.__subclasses__():
        given, kept = image(), image()
        step = kind(name=kind.model_fields["name"].annotation.__args__[0], probability=1.0, channel_probability=1.0)
        out, labels = step.act(given, NONE, np.random.default_rng(0))
        assert out.dtype == np.float32 and out.shape == given.shape and labels is NONE
        assert not np.array_equal(out, given) and np.array_equal(given, kept)
