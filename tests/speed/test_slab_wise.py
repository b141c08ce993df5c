"""The slabs that our sliding window is compared with: MONAI's labels, along whichever axis is the longest."""

from __future__ import annotations

import pytest
import torch
from monai.inferers import SlidingWindowInferer
from torch import nn

from benchmark.inference.sliding_window import Window
from speed.slab_wise import slab_wise_labels


@pytest.mark.parametrize("shape", [(23, 9, 12), (8, 21, 10), (11, 13, 29), (8, 9, 10)])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.7])
def test_labels_are_monais(shape: tuple[int, ...], overlap: float) -> None:
    torch.manual_seed(0)
    window, network = Window((8, 9, 10), overlap), nn.Conv3d(1, 5, 3, padding=1).eval()
    image = torch.randn(1, *shape)
    inferer = SlidingWindowInferer(window.patch, overlap=overlap, mode="gaussian", sigma_scale=window.sigma_scale)
    with torch.no_grad():
        expected = inferer(image[None], network)[0].argmax(0)
    assert torch.equal(slab_wise_labels(network, image, window, 5).long(), expected)
