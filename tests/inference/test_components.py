"""Only the largest part of a structure: against scipy's labelling, and names."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from benchmark.errors import InputError
from benchmark.inference.components import keep_largest, numbers_of


def test_only_the_largest_part_stays():
    generator = np.random.default_rng(0)
    labels = (ndimage.gaussian_filter(generator.normal(size=(24, 22, 20)), 1.5) > 0.1).astype(np.uint8)
    labels[labels == 1] = generator.integers(1, 3, (labels == 1).sum())
    labels[:, :11] = np.where(labels[:, :11] > 0, 1, 0)
    before = labels.copy()
    kept = keep_largest(labels, [1])
    parts, count = ndimage.label(before == 1, structure=np.ones((3, 3, 3)))
    assert count > 1
    largest = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    np.testing.assert_array_equal(kept == 1, largest)
    np.testing.assert_array_equal(kept == 2, before == 2)
    np.testing.assert_array_equal(labels, before)


def test_corners_connect_and_what_is_absent_stays_so():
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = 3
    np.testing.assert_array_equal(keep_largest(labels, [2, 3]), labels)


def test_structures_by_name():
    assert numbers_of("all", ["liver", "tumour"]) == [1, 2]
    assert numbers_of(["tumour"], ["liver", "tumour"]) == [2]
    with pytest.raises(InputError, match="unknown structures"):
        numbers_of(["spleen"], ["liver"])
