"""Only the largest part of a structure, or none that is small: against scipy's labelling, and names."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from benchmark.errors import InputError
from benchmark.inference.components import drop_small, keep_largest, numbers_of, parts_of
from benchmark.settings import Inference


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


def test_parts_of_at_most_so_many_voxels_are_dropped():
    generator = np.random.default_rng(1)
    labels = (ndimage.gaussian_filter(generator.normal(size=(24, 22, 20)), 1.2) > 0.25).astype(np.uint8)
    labels[:, 11:] *= 2
    before = labels.copy()
    parts, count = ndimage.label(labels == 2, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    limit = int(np.sort(sizes)[count // 2])  # one that a part has: it is dropped too
    assert 0 < (sizes > limit).sum() < count
    kept = drop_small(labels, {2: limit, 3: 5})
    np.testing.assert_array_equal(kept == 2, np.isin(parts, 1 + np.flatnonzero(sizes > limit)))
    np.testing.assert_array_equal(kept == 1, before == 1)
    np.testing.assert_array_equal(labels, before)
    assert not (drop_small(labels, {2: labels.size}) == 2).any()


def test_the_settings_say_which_parts_stay():
    labels = np.zeros((9, 4, 4), np.uint8)
    labels[0:2], labels[3] = 1, 1  # 32 and 16 voxels
    labels[5, 0:2], labels[7, 0, 0:3] = 2, 2  # 8 and 3
    parts = parts_of(Inference(keep_largest=("liver",), drop_up_to={"tumour": 3}), ["liver", "tumour"])
    kept = parts.of(labels)
    assert (kept == 1).sum() == 32 and (kept == 2).sum() == 8
    np.testing.assert_array_equal(parts_of(Inference(), ["liver", "tumour"]).of(labels), labels)
    with pytest.raises(InputError, match="drop_up_to names unknown structures"):
        parts_of(Inference(drop_up_to={"spleen": 50}), ["liver", "tumour"])
