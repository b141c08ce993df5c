"""2-D networks on volumes: slice by slice equals MONAI on every slice; whole images are resized and come back."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from monai.inferers import SlidingWindowInferer
from torch import nn

from benchmark.data.geometry import slice_patch
from benchmark.errors import InputError
from benchmark.inference.slices import on_slices, predict_whole
from benchmark.inference.sliding_window import Window, predict_labels


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1)).eval()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_monais_slice_by_slice(network, axis):
    image = torch.randn(1, 13, 11, 9)
    window = Window(slice_patch((8, 6), axis), overlap=0.5, batch=3)
    labels = predict_labels(on_slices(network, axis), image, window, device="cpu")
    inferer = SlidingWindowInferer((8, 6), overlap=0.5, mode="gaussian", sw_batch_size=3)
    with torch.no_grad():
        expected = [inferer(part[None], network)[0].argmax(0) for part in image.unbind(axis + 1)]
    assert labels.eq(torch.stack(expected, axis)).float().mean() > 0.999  # batches hold other windows: sums may round


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_whole_slices_at_a_fixed_size(network, axis):
    image = torch.randn(1, 7, 10, 8)
    labels = predict_whole(network, image, (16, 12), axis=axis, batch=2, device="cpu")
    for index, part in enumerate(image.unbind(axis + 1)):
        resized = F.interpolate(part[None], (16, 12), mode="bilinear", align_corners=False)
        with torch.no_grad():
            classes = network(resized).argmax(1).byte()
        expected = F.interpolate(classes[None], part.shape[1:], mode="nearest-exact")[0, 0]
        assert labels.select(axis, index).eq(expected).float().mean() > 0.98  # interpolation may round at a tie


def test_a_whole_2d_image_of_the_networks_size_is_one_forward_pass(network):
    image = torch.randn(1, 16, 12)
    with torch.no_grad():
        expected = network(image[None])[0].argmax(0)
    assert torch.equal(predict_whole(network, image, (16, 12), axis=0, device="cpu").long(), expected)


def test_axes_that_do_not_fit(network):
    with pytest.raises(InputError, match="do not fit"):
        predict_whole(network, torch.zeros(1, 8), (4, 4), axis=0, device="cpu")
