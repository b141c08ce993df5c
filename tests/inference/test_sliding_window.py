"""Sliding windows: MONAI's labels to the bit, with a fraction of its memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import SlidingWindowInferer
from torch import nn

from benchmark.errors import InputError
from benchmark.inference import compartments
from benchmark.inference.sliding_window import Window, iterate_scores, mirrored, peak_voxels, predict_labels


def network_of(dimensions: int, classes: int = 5) -> nn.Module:
    """A small network whose scores depend on the position in the window."""
    torch.manual_seed(0)
    convolution = (nn.Conv2d, nn.Conv3d)[dimensions - 2]
    return nn.Sequential(convolution(2, 6, 3, padding=1), nn.ReLU(), convolution(6, classes, 3, padding=1)).eval()


def monai_scores(network: nn.Module, image: torch.Tensor, window: Window) -> torch.Tensor:
    inferer = SlidingWindowInferer(
        window.patch,
        sw_batch_size=window.batch,
        overlap=window.overlap,
        mode=window.weighting,
        sigma_scale=window.sigma_scale,
    )
    with torch.no_grad():
        return inferer(image[None], network)[0]


@st.composite
def cases(draw):
    dimensions = draw(st.sampled_from((2, 3)))
    side = st.integers(3, 33 if dimensions == 2 else 19)
    window = Window(
        patch=tuple(draw(st.integers(3, 12)) for _ in range(dimensions)),
        overlap=draw(st.sampled_from((0.0, 0.25, 0.5, 0.7, 0.8 if dimensions == 2 else 0.6))),
        weighting=draw(st.sampled_from(("gaussian", "constant"))),
        sigma_scale=draw(st.sampled_from((0.125, 0.05))),
        batch=draw(st.integers(1, 4)),
    )
    return tuple(draw(side) for _ in range(dimensions)), window


@settings(max_examples=24, deadline=None, derandomize=True)
@given(cases())
def test_scores_and_labels_are_monais_to_the_bit(case):
    shape, window = case
    image = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    network = network_of(len(shape))
    expected = monai_scores(network, image, window)
    scores = torch.full_like(expected, float("nan"))
    for where, box in iterate_scores(network, image, window, device="cpu"):
        assert scores[(slice(None), *where)].isnan().all()  # no voxel comes twice
        scores[(slice(None), *where)] = box
    assert torch.equal(scores, expected)
    labels = predict_labels(network, image, window, device="cpu")
    assert labels.dtype == torch.uint8
    assert torch.equal(labels.long(), expected.argmax(0))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 40)), min_size=1, max_size=3),
    st.sampled_from((0.0, 0.25, 0.3, 0.5, 0.7, 0.9)),
)
def test_windows_lie_where_monai_lays_them(sides, overlap):
    patch, shape = tuple(side for side, _ in sides), tuple(side + more for side, more in sides)
    interval = [max(int(side * (1 - overlap)), 1) for side in patch]
    assert Window(patch, overlap).positions(shape) == dense_patch_slices(shape, patch, interval)


@pytest.mark.parametrize("weighting", ["gaussian", "constant"])
@pytest.mark.parametrize("patch", [(96, 96, 96), (32, 32, 64), (320, 320), (7, 9), (128,), (1, 3)])
def test_windows_are_weighted_as_by_monai(patch, weighting):
    expected = compute_importance_map(patch, mode=weighting, sigma_scale=0.125, device="cpu")
    assert torch.equal(Window(patch, weighting=weighting).weights(torch.device("cpu"))[0], expected)


def test_ties_go_to_the_first_class():
    image = torch.zeros(1, 9, 9)
    labels = predict_labels(lambda x: torch.cat([x, x, x], 1), image, Window((4, 4)), device="cpu")
    assert labels.eq(0).all()


def test_deep_supervision_uses_the_full_resolution():
    network = network_of(2)
    image, window = torch.randn(2, 17, 13), Window((8, 8))
    listed = predict_labels(lambda x: [network(x), network(x)[..., ::2, ::2]], image, window, device="cpu")
    assert torch.equal(listed, predict_labels(network, image, window, device="cpu"))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_mirroring_makes_the_network_symmetric(dimensions):
    network, image = mirrored(network_of(dimensions)), torch.randn(1, 2, *(7,) * dimensions)
    axes = tuple(range(3, dimensions + 2))
    with torch.no_grad():
        torch.testing.assert_close(network(image.flip(axes)), network(image).flip(axes))
        assert not torch.allclose(network(image), network_of(dimensions)(image))


def test_bfloat16_blends_in_float32():
    image, window = torch.randn(2, 20, 20), Window((8, 8))
    scores = [box for _, box in iterate_scores(network_of(2), image, window, device="cpu", precision="bf16-mixed")]
    assert all(box.dtype == torch.float32 for box in scores)
    exact = predict_labels(network_of(2), image, window, device="cpu")
    rounded = predict_labels(network_of(2), image, window, device="cpu", precision="bf16-mixed")
    assert 0.95 < exact.eq(rounded).float().mean() <= 1


def test_errors():
    with pytest.raises(InputError, match="2 axes"):
        predict_labels(network_of(2), torch.zeros(2, 5, 5, 5), Window((4, 4)), device="cpu")
    with pytest.raises(InputError, match="NaN"):
        predict_labels(lambda x: x.log(), -torch.ones(2, 8, 8), Window((4, 4)), device="cpu")


def test_memory_stays_at_the_stated_peak(monkeypatch):
    """The scores alive during a prediction, measured cell by cell, never exceed `peak_voxels`."""
    alive, seen = [0], []
    add, take = compartments.Compartment.add, compartments.Compartment.take_mean

    def counted_add(cell, weighted, weight):
        alive[0] += cell.voxels if cell.scores is None else 0
        seen.append(alive[0])
        add(cell, weighted, weight)

    def counted_take(cell):
        alive[0] -= cell.voxels
        return take(cell)

    monkeypatch.setattr(compartments.Compartment, "add", counted_add)
    monkeypatch.setattr(compartments.Compartment, "take_mean", counted_take)
    shape, window = (41, 30, 33), Window((8, 8, 8))
    predict_labels(network_of(3, classes=2), torch.randn(2, *shape), window, device="cpu")
    assert alive[0] == 0
    assert max(seen) == peak_voxels(shape, window)
    assert peak_voxels(shape, window) < 0.2 * np.prod(shape)


def test_the_paper_volume_needs_a_third_of_the_whole_array():
    shape, window = (300, 300, 422), Window((128, 128, 128))
    assert peak_voxels(shape, window) <= 0.36 * np.prod(shape)
