"""Foreground intensities against numpy, drawn and counted as nnU-Net does."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.data import fingerprint
from benchmark.data.fingerprint import distinct, foreground_counts, intensities, merged
from benchmark.settings import Preparation, Resampling

DRAWN = Preparation(normalise="ct_global", resampling=Resampling(rules="2.1"))
TENTH = Preparation(normalise="ct_global", resampling=Resampling(rules="1.7"))


def image_and_foreground(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    image = generator.normal(40, 300, (2, 9, 8, 7)).round().astype(np.int16)
    return image, generator.random((9, 8, 7)) < 0.3


def test_voxels_are_drawn_as_numpy_draws_them(monkeypatch):
    monkeypatch.setattr(fingerprint, "DRAWN_VOXELS", 5000)
    monkeypatch.setattr(fingerprint, "DRAWS_AT_ONCE", 300)  # the parts together are one stream
    image, foreground = image_and_foreground()
    generator = np.random.RandomState(1234)
    for channel, counts in zip(image, foreground_counts(image, foreground, DRAWN, 3), strict=True):
        drawn = generator.choice(channel[foreground], 5000 // 3, replace=True)
        for ours, theirs in zip(counts, np.unique(drawn, return_counts=True), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_nnunet_1_takes_every_tenth_voxel():
    image, foreground = image_and_foreground()
    values, times = foreground_counts(image, foreground, TENTH, 3)[0]
    np.testing.assert_array_equal(np.repeat(values, times), np.sort(image[0][foreground][::10]))


def test_statistics_of_counted_values_are_those_of_the_values():
    parts = [np.random.default_rng(seed).normal(0, 50, 700 + seed).round(1).astype(np.float32) for seed in range(3)]
    everything = np.concatenate(parts)
    found = intensities(merged(distinct(part) for part in parts))
    low, median, high = np.percentile(everything, [0.5, 50, 99.5])
    assert (found.percentile_00_5, found.median, found.percentile_99_5) == (low, median, high)
    assert (found.minimum, found.maximum) == (everything.min(), everything.max())
    wide = everything.astype(np.float64)
    assert found.mean == pytest.approx(wide.mean(), rel=1e-12) and found.std == pytest.approx(wide.std(), rel=1e-12)
    assert intensities(merged(distinct(part) for part in reversed(parts))) == found


def test_one_value_and_no_value():
    single = intensities(distinct(np.array([7.0], np.float32)))
    assert single.mean == single.median == single.percentile_00_5 == 7 and single.std == 0
    with pytest.raises(ValueError, match="no intensities"):
        intensities(merged([]))


def test_a_case_without_foreground_adds_nothing():
    image, _ = image_and_foreground()
    empty = foreground_counts(image, np.zeros(image.shape[1:], bool), DRAWN, 2)
    assert all(len(values) == len(times) == 0 for values, times in empty)
