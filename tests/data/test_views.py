"""Boxes of a case and of a zoomed case; MONAI's transforms of the whole volume are the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import Zoom

from benchmark.data.views import CaseView, ZoomedView

SHAPE = (31, 40, 17)


@pytest.fixture
def prepared(make_store):
    generator = np.random.default_rng(0)
    image = generator.random((2, *SHAPE), dtype=np.float32)
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:9, 10:30, 5:12], labels[20:25, 18:22, 8:9], labels[0, 0, 0] = 4, 7, 9
    return make_store({"a": (image, labels)}).open("a")


@pytest.mark.parametrize("start", [(0, 0, 0), (-4, 30, 3), (5, 5, 15), (100, 0, 0), (-20, -20, -20)])
def test_a_box_is_a_slice_of_the_zero_padded_volume(prepared, start):
    size = (12, 20, 9)
    image, labels = CaseView(prepared).read(start, size)
    margin = 128
    padded = np.pad(prepared.image[:], [(0, 0)] + [(margin, margin)] * 3)
    box = tuple(slice(a + margin, a + margin + n) for a, n in zip(start, size, strict=True))
    assert np.array_equal(image, padded[(slice(None), *box)])
    assert np.array_equal(labels, np.pad(prepared.labels[:], margin)[box])


@pytest.mark.parametrize("factor", [1.0, 1.07, 1.3, 1.3777, 1.5, 2.0, 2.6])
def test_zoomed_view_equals_monai_zoom_of_the_whole_volume(prepared, factor):
    view = ZoomedView(prepared, factor)
    image, labels = view.read((0, 0, 0), SHAPE)
    whole = Zoom(factor, mode="area", keep_size=True)(torch.from_numpy(prepared.image[:])).numpy()
    classes = Zoom(factor, mode="nearest", keep_size=True)(torch.from_numpy(prepared.labels[:][None]).float()).numpy()
    np.testing.assert_allclose(image, whole, atol=1e-6)
    assert np.array_equal(labels, classes[0])
    for start, size in [((3, 4, 5), (9, 9, 9)), ((-3, 20, 2), (12, 25, 30))]:
        image, labels = view.read(start, size)
        padded = np.pad(whole, [(0, 0), (32, 32), (32, 32), (32, 32)])
        box = tuple(slice(a + 32, a + 32 + n) for a, n in zip(start, size, strict=True))
        np.testing.assert_allclose(image, padded[(slice(None), *box)], atol=1e-6)
        assert np.array_equal(labels, np.pad(classes[0], 32)[box])


def test_zoomed_view_outside_is_empty(prepared):
    image, labels = ZoomedView(prepared, 1.4).read((100, 0, 0), (4, 4, 4))
    assert image.shape == (2, 4, 4, 4) and not image.any() and not labels.any()


@pytest.mark.parametrize("view_of", [CaseView, lambda prepared: ZoomedView(prepared, 1.4)])
def test_drawn_voxels_are_uniform_over_the_labels_seen(prepared, view_of):
    view = view_of(prepared)
    _, labels = view.read((0, 0, 0), SHAPE)
    generator = np.random.default_rng(5)
    draws = np.array([view.draw_voxel([4, 7], generator) for _ in range(4000)])
    hit = labels[tuple(draws.T)]
    assert set(hit) == {4, 7}
    share = (labels == 4).sum() / np.isin(labels, [4, 7]).sum()
    assert abs((hit == 4).mean() - share) < 4 * np.sqrt(share * (1 - share) / len(draws))
    inside = np.argwhere(np.isin(labels, [4, 7]))
    np.testing.assert_allclose(draws.mean(axis=0), inside.mean(axis=0), atol=4 * inside.std() / np.sqrt(len(draws)))


def test_a_class_out_of_sight_cannot_be_drawn(prepared):
    generator = np.random.default_rng(0)
    assert list(CaseView(prepared).draw_voxel([9], generator)) == [0, 0, 0]
    assert ZoomedView(prepared, 1.5).draw_voxel([9], generator) is None
    assert CaseView(prepared).draw_voxel([3], generator) is None


def test_shrinking_is_refused(prepared):
    with pytest.raises(ValueError, match="at least 1"):
        ZoomedView(prepared, 0.9)
