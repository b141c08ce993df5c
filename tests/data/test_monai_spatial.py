"""Interpolating augmentations of patches against scipy, with the parameters that the generator is known to give."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, special

from benchmark.data.monai_spatial import Affine, Noise, Rotate, Smooth, ZoomPatch
from benchmark.errors import InputError

PATCH = (20, 24, 22)


class Given:
    """A generator that gives fixed numbers in place of uniform ones; child generators give the same."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = numbers

    def uniform(self, low: float, high: float, size: int | None = None) -> float | np.ndarray:
        assert all(low <= number <= high for number in self.numbers)
        return np.array(self.numbers[:size]) if size else self.numbers[0]


def smooth_image(shape: tuple[int, ...] = PATCH) -> np.ndarray:
    """A blurred random image [1, *shape], on which all linear interpolations agree closely."""
    noise = np.random.default_rng(0).random(shape).astype(np.float32)
    return ndimage.gaussian_filter(noise, 2.0)[None]


def by_scipy(image: np.ndarray, matrix: np.ndarray, mode: str) -> np.ndarray:
    """`image` [*PATCH] read at the places matrix · (output place), both from the centre."""
    centre = (np.array(image.shape) - 1) / 2
    return ndimage.affine_transform(image, matrix, offset=centre - matrix @ centre, order=1, mode=mode)


def about_last_axis(angle: float) -> np.ndarray:
    turn = np.eye(3)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn


def test_rotation_is_scipys() -> None:
    image = smooth_image()
    step = Rotate(angle=0.3)
    turned = np.asarray(step.transform(3, Given(0.0, 0.0, 0.2), labels=False)(image))
    expected = by_scipy(image[0], about_last_axis(0.2), "nearest")
    assert np.abs(turned[0] - expected).max() < 2e-3
    assert np.abs(turned[0] - image[0]).max() > 2e-2


def test_affine_rotates_and_scales_each_axis_as_scipy_does() -> None:
    image, scales = smooth_image(), (0.95, 1.05, 1.1)

    class Draws:
        def uniform(self, low: float, high: float, size: int | None = None) -> float | np.ndarray:
            return np.array(scales) - 1 if size else 0.1

    moved = np.asarray(Affine().transform(3, Draws(), labels=False)(image))
    expected = by_scipy(image[0], about_last_axis(0.1) @ np.diag(scales), "reflect")
    inner = (slice(3, -3),) * 3  # MONAI and scipy reflect at the border in two ways
    assert np.abs(moved[0] - expected)[inner].max() < 2e-3


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_zoom_keeps_size_centre_and_corner_voxels(factor: float) -> None:
    shape = np.array([20, 30, 40])  # zoomed sides and what is cut or repeated on both sides are whole
    image = smooth_image(tuple(shape))
    zoomed = np.asarray(ZoomPatch().transform(3, Given(factor), labels=False)(image))
    steps = (shape - 1) / (shape * factor - 1)
    assert zoomed.shape == image.shape
    assert np.abs(zoomed[0] - by_scipy(image[0], np.diag(steps), "nearest")).max() < 2e-3


def test_zoom_refuses_an_empty_range() -> None:
    with pytest.raises(InputError, match="empty range"):
        ZoomPatch(minimum=1.2, maximum=0.8).check(PATCH)


@pytest.mark.parametrize("step", [Rotate(), ZoomPatch(), Affine()], ids=lambda step: step.label)
def test_image_and_labels_move_together(step: Rotate | ZoomPatch | Affine) -> None:
    blocks = np.kron(np.random.default_rng(1).integers(0, 4, (5, 6, 2)), np.ones((4, 4, 11))).astype(np.uint8)
    image, labels = step.apply(blocks[None].astype(np.float32), blocks, PATCH, np.random.default_rng(2))
    whole = np.abs(image[0] - np.round(image[0])) < 1e-3  # where no two structures are mixed
    assert whole.mean() > 0.4
    assert np.mean(np.round(image[0])[whole] == labels[whole]) > 0.97


def kernel(width: float) -> np.ndarray:
    """A Gaussian integrated over each of 2 · 4 · width + 1 voxels."""
    edges = np.arange(-round(4 * width) - 0.5, round(4 * width) + 1)
    return np.diff(special.ndtr(edges / width))


def test_smoothing_is_a_gaussian_integrated_over_voxels() -> None:
    image, widths = np.random.default_rng(3).random((1, *PATCH), dtype=np.float32), (0.6, 0.8, 1.1)
    smoothed = Smooth(probability=1.0).change(image, Given(*widths))
    expected = image[0]
    for axis, width in enumerate(widths):
        expected = ndimage.convolve1d(expected, kernel(width), axis=axis, mode="constant")
    assert np.abs(smoothed[0] - expected).max() < 1e-3


def test_noise_has_up_to_the_deviation() -> None:
    image = np.zeros((1, *PATCH), np.float32)
    spreads = [Noise(deviation=0.2).change(image, np.random.default_rng(seed)).std() for seed in range(200)]
    assert 0.19 < max(spreads) <= 0.205 and np.mean(spreads) == pytest.approx(0.1, abs=0.01)
