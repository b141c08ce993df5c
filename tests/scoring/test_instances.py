from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from skimage.measure import label as skimage_label
from skimage.segmentation import clear_border

from benchmark.scoring.instances import (
    InstanceCounts,
    connected_components,
    count_matches,
    decode_instances,
    encode_boundaries,
    f1,
    precision,
    recall,
    remove_border_instances,
    score_instances,
)


def discs(shape: tuple[int, int], centres: list[tuple[int, int]], radius: int) -> np.ndarray:
    instances = np.zeros(shape, np.uint16)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    for value, (row, column) in enumerate(centres, start=1):
        instances[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = value
    return instances


def dense_matches(reference: np.ndarray, prediction: np.ndarray, threshold: float) -> int:
    """stardist's matching in its dense form: most pairs above the threshold first, then most IoU."""
    ids = [[value for value in np.unique(side) if value] for side in (reference, prediction)]
    ratio = np.zeros(tuple(map(len, ids)))
    for i, first in enumerate(ids[0]):
        for j, second in enumerate(ids[1]):
            masks = reference == first, prediction == second
            ratio[i, j] = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
    if not ratio.size:
        return 0
    costs = -(ratio >= threshold).astype(float) - ratio / (2 * min(ratio.shape))
    return int((ratio[linear_sum_assignment(costs)] >= threshold).sum())


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32), st.integers(2, 14), st.sampled_from((0.1, 0.3, 0.5, 0.75, 1.0)), st.sampled_from((0, 0.3, 1))
)
def test_matches_equal_an_optimal_assignment(seed, side, threshold, change):
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 6, (side, side)).repeat(2, axis=0).repeat(2, axis=1)
    other = np.where(random.random(blocks.shape) < change, random.integers(0, 6, blocks.shape), blocks * 7)
    counts = count_matches(blocks, other, threshold=threshold)
    expected = InstanceCounts(
        len(np.unique(blocks[blocks > 0])), len(np.unique(other[other > 0])), dense_matches(blocks, other, threshold)
    )
    assert counts == expected


def test_ties_at_the_threshold_match_one_to_one():
    reference = np.array([[1, 1, 1, 1]])
    prediction = np.array([[1, 1, 2, 2]])  # both overlap half of the reference exactly
    assert count_matches(reference, prediction, threshold=0.5) == InstanceCounts(1, 2, 1)


def test_f1_by_hand():
    counts = InstanceCounts(reference=8, prediction=5, matched=4)
    assert (precision(counts), recall(counts)) == (0.8, 0.5)
    assert f1(counts) == pytest.approx(2 * 0.8 * 0.5 / 1.3)
    for nothing in (InstanceCounts(0, 0, 0), InstanceCounts(3, 0, 0), InstanceCounts(0, 3, 0), InstanceCounts(3, 3, 0)):
        assert (f1(nothing), precision(nothing), recall(nothing)) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_border_removal_agrees_with_scikit_image(width):
    random = np.random.default_rng(width)
    instances = skimage_label(random.random((40, 30)) < 0.35)
    ours = remove_border_instances(instances, width=width)
    assert (ours == clear_border(instances, buffer_size=width - 1)).all()
    assert ours.max() > 0


def test_border_wider_than_the_image_removes_everything():
    assert remove_border_instances(np.ones((3, 3), int), width=2).max() == 0


def test_components_touch_at_corners_and_ignore_the_boundary_class():
    labels = np.array([[1, 0, 2, 1], [0, 1, 2, 1], [0, 0, 2, 2]])
    decoded = decode_instances(labels, decoding="components")
    assert len(np.unique(decoded[decoded > 0])) == 2
    assert (decoded[labels == 2] == 0).all()
    assert (decoded > 0).sum() == 4
    assert (np.unique(decoded[labels == 1]).size, decoded.max()) == (skimage_label(labels == 1).max(), 2)


def test_boundary_aware_decoding_gives_back_touching_discs():
    instances = discs((60, 90), [(20, 20), (20, 41), (40, 70)], radius=10)
    encoded = encode_boundaries(instances)
    assert set(np.unique(encoded)) == {0, 1, 2}
    plain = decode_instances(encoded, decoding="components")
    aware = decode_instances(encoded, decoding="boundary_aware")
    assert ((aware > 0) == (instances > 0)).all()
    assert count_matches(instances, aware, threshold=0.95) == InstanceCounts(3, 3, 3)
    assert count_matches(instances, plain, threshold=0.95).matched == 0  # the rim is 20 % of such a disc


def test_boundary_pixels_do_not_cross_background():
    labels = np.array([[1, 2, 0, 2, 0]])
    assert decode_instances(labels, decoding="boundary_aware").tolist() == [[1, 1, 0, 0, 0]]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 21), st.integers(1, 21), st.sampled_from((0.3, 0.4, 0.6)))
def test_components_agree_with_scikit_image_for_any_sides(seed, rows, columns, density):
    """cc3d 4.1.1 labels pixels outside a boolean mask where rows are even and columns odd."""
    mask = np.random.default_rng(seed).random((rows, columns)) < density
    found, expected = connected_components(mask), skimage_label(mask, connectivity=2)
    assert ((found > 0) == mask).all()
    pairs = set(zip(found[mask].tolist(), expected[mask].tolist(), strict=True))
    assert len(pairs) == len(np.unique(found[mask])) == expected.max()


def test_no_component_lies_outside_an_image_of_even_rows_and_odd_columns():
    random = np.random.default_rng(1)
    for _ in range(20):
        labels = (random.random((500, 701)) < 0.35).astype(np.uint8)
        assert (decode_instances(labels, decoding="components")[labels == 0] == 0).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(3, 18), st.integers(3, 18), st.sampled_from((0.4, 0.6, 0.8)))
def test_rims_join_the_nearest_interior_of_their_own_region(seed, rows, columns, density):
    random = np.random.default_rng(seed)
    labels = np.where(random.random((rows, columns)) < density, np.where(random.random((rows, columns)) < 0.3, 1, 2), 0)
    decoded = decode_instances(labels, decoding="boundary_aware")
    seeds, regions = skimage_label(labels == 1, connectivity=2), skimage_label(labels > 0, connectivity=2)
    for pixel in np.argwhere(labels == 2):
        own = np.argwhere((seeds > 0) & (regions == regions[tuple(pixel)]))
        distances = ((own - pixel) ** 2).sum(axis=1)
        nearest = {decoded[tuple(place)] for place in own[distances == distances.min(initial=10**6)]} or {0}
        assert decoded[tuple(pixel)] in nearest
    assert (decoded[labels == 0] == 0).all()


def test_a_rim_nearer_to_another_cell_stays_with_its_own():
    labels = np.array([[1, 2, 2, 2, 0, 1, 0]])  # the last rim pixel is two away from the other cell, three from its own
    assert decode_instances(labels, decoding="boundary_aware").tolist() == [[1, 1, 1, 1, 0, 2, 0]]


def test_tiles_count_like_pieces_scored_alone():
    reference = discs((50, 70), [(10, 10), (10, 33), (30, 30), (40, 60)], radius=5)
    prediction = np.roll(reference, 1, axis=1)
    whole = score_instances(reference, prediction, threshold=0.5, remove_border=2)
    assert whole == InstanceCounts(4, 4, 4)
    tiled = score_instances(reference, prediction, threshold=0.5, remove_border=2, tile_from_pixels=3500, tile_size=32)
    pieces = InstanceCounts(0, 0, 0)
    for row in (0, 32):
        for column in (0, 32, 64):
            windows = [np.zeros((32, 32), int), np.zeros((32, 32), int)]
            for window, side in zip(windows, (reference, prediction), strict=True):
                piece = side[row : row + 32, column : column + 32]
                window[: piece.shape[0], : piece.shape[1]] = piece
            pieces += score_instances(*windows, threshold=0.5, remove_border=2)
    assert tiled == pieces
    assert tiled.matched < whole.matched  # cells on the seams are lost: what the released evaluation does
    below = score_instances(reference, prediction, threshold=0.5, tile_from_pixels=3501, tile_size=32)
    assert below == InstanceCounts(4, 4, 4)
