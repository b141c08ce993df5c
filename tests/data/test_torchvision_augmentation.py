"""Random resized crops: torchvision's ranges, its fallback, and pixels that stay with their labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmark.data.augmentation import build_steps
from benchmark.data.torchvision_augmentation import RandomResizedCrop
from benchmark.errors import InputError
from benchmark.settings import Step

SIMMIM = {"smallest": 0.67, "largest": 1.0, "narrowest": 3 / 4, "widest": 4 / 3}


def step_of(**parameters: float) -> RandomResizedCrop:
    return build_steps([Step(name="random_resized_crop", parameters=parameters)], patch=(192, 192))[0]


def test_areas_and_aspects_are_those_of_torchvision() -> None:
    """Area uniform and aspect log-uniform where every box fits; corners uniform over the places that are left."""
    step, generator, side = (
        step_of(smallest=0.1, largest=0.5, narrowest=3 / 4, widest=4 / 3),
        np.random.default_rng(0),
        2000,
    )
    boxes = np.array([step.box((side, side), generator) for _ in range(2000)])
    top, left, rows, columns = boxes.T
    assert stats.kstest(rows * columns / side**2, "uniform", args=(0.1, 0.4)).pvalue > 0.01
    low, high = np.log(3 / 4), np.log(4 / 3)
    assert stats.kstest(np.log(columns / rows), "uniform", args=(low, high - low)).pvalue > 0.01
    for start, length in ((top, rows), (left, columns)):
        assert stats.kstest(start / (side - length), "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((30, 300), (0, 130, 30, 40)), ((300, 30), (130, 0, 40, 30)), ((30, 31), (0, 0, 30, 31))],
)
def test_where_no_box_fits_the_largest_central_one_is_taken(shape: tuple[int, int], expected: tuple[int, ...]) -> None:
    step = step_of(**(SIMMIM | {"smallest": 1.0} if shape != (30, 31) else SIMMIM))
    assert step.box(shape, _Never()) == expected


class _Never:
    """Draws boxes that never fit: the largest area, and an aspect that is too wide for any of them."""

    def uniform(self, low: float, high: float) -> float:
        return high


def test_pixels_stay_with_their_labels() -> None:
    labels = np.arange(60 * 80).reshape(60, 80) % 251
    image = np.stack([labels, 2 * labels]).astype(np.float32)
    cut, cut_labels = step_of(**SIMMIM).distort(image, labels.astype(np.uint8), np.random.default_rng(3))
    assert cut_labels.size >= 0.66 * labels.size and cut_labels.shape != labels.shape
    assert np.array_equal(cut[0], cut_labels) and np.array_equal(cut[1], 2 * cut[0])


def test_what_cannot_be_cropped_is_refused() -> None:
    with pytest.raises(InputError, match="two sides"):
        build_steps([Step(name="random_resized_crop")], patch=(32, 32, 32))
    with pytest.raises(InputError, match="empty range"):
        step_of(smallest=0.9, largest=0.5)
