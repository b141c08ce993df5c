"""The non-zero mask and its box against scipy and nnunetv2."""

from __future__ import annotations

import numpy as np
import pytest
from nnunetv2.preprocessing.cropping.cropping import create_nonzero_mask, crop_to_nonzero

from benchmark.data.nonzero import as_volume, box_slices, from_volume, mask_box, nonzero_mask, own_values, volume_values


@pytest.mark.parametrize("share", [0.05, 0.4, 0.7, 1.0])
@pytest.mark.parametrize("shape", [(1, 9, 8, 7), (2, 6, 12, 5), (1, 1, 14, 15), (3, 1, 1, 1)])
def test_masks_and_boxes_are_those_of_nnunetv2(shape, share):
    generator = np.random.default_rng(0)
    image = np.where(generator.random(shape) < share, generator.random(shape), 0).astype(np.float32)
    mask = nonzero_mask(image)
    np.testing.assert_array_equal(mask, create_nonzero_mask(image))
    expected, _, _ = crop_to_nonzero(image)
    np.testing.assert_array_equal(image[(slice(None), *box_slices(mask_box(mask)))], expected)


def test_holes_are_filled_unless_they_reach_a_side():
    image = np.ones((1, 7, 7, 7), np.float32)
    image[0, 2:4, 2:4, 2:4] = 0
    assert nonzero_mask(image).all()
    image[0, 2, 2, :3] = 0  # a channel to the outside
    assert not nonzero_mask(image)[2:4, 2:4, 2:4].any()
    flat = np.ones((1, 1, 5, 5), np.float32)
    flat[0, 0, 2, 2] = 0  # in a picture every hole lies at a side
    assert not nonzero_mask(flat)[0, 2, 2]


def test_an_image_of_zeros_is_kept_whole():
    assert mask_box(nonzero_mask(np.zeros((1, 3, 4, 5), np.float32))) == ([0, 0, 0], [3, 4, 5])


def test_axis_orders_and_back():
    volume, picture = np.zeros((2, 3, 4, 5)), np.zeros((3, 6, 7))
    assert as_volume(volume, 3).shape == (2, 5, 4, 3) and as_volume(picture, 2).shape == (3, 1, 6, 7)
    assert from_volume(as_volume(volume, 3), 3).shape == volume.shape
    assert from_volume(as_volume(picture, 2), 2).shape == picture.shape
    assert volume_values((1, 2, 3)) == [3, 2, 1] == own_values((1, 2, 3), 3)
    assert volume_values((1, 2)) == [999.0, 1, 2] and own_values([999.0, 1, 2], 2) == [1, 2]
