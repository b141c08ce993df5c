from __future__ import annotations

import warnings

import numpy as np
import pytest
import surface_distance
import torch
from helpers.masks import TOLERANCE, filled_mask_pairs
from hypothesis import given, settings
from medpy.metric import binary
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from monai.metrics.utils import get_edge_surface_distance
from scipy import ndimage
from skimage.metrics import hausdorff_distance as skimage_hausdorff
from skimage.segmentation import find_boundaries
from surface_distance import lookup_tables

from benchmark.scoring.kernels import _search_plane, _steps_along_first_axis, _transform_plane
from benchmark.scoring.surface import assd, hausdorff, nsd, surface_distances
from benchmark.scoring.surface_elements import contour_lengths, surface_areas

pytestmark = pytest.mark.filterwarnings("ignore")
EXAMPLES = settings(max_examples=120, deadline=None)


def distances(masks, definition):
    reference, prediction, spacing = masks
    labels = reference.astype(np.uint8), prediction.astype(np.uint8)
    return surface_distances(*labels, label=1, spacing=spacing, definition=definition)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.7, 1.3, 2.9), (0.78125, 0.78125, 5)])
def test_areas_of_all_codes_equal_the_published_table(spacing):
    areas = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
    lengths = lookup_tables.create_table_neighbour_code_to_contour_length(spacing[:2])
    assert surface_areas(spacing) == pytest.approx(areas, abs=1e-12)
    assert contour_lengths(spacing[:2]) == pytest.approx(lengths, abs=1e-12)


@EXAMPLES
@given(filled_mask_pairs())
def test_surface_elements_agree_with_surface_distance(masks):
    ours = distances(masks, "surface_elements")
    theirs = surface_distance.compute_surface_distances(*masks)
    assert np.sort(ours.from_reference) == pytest.approx(theirs["distances_gt_to_pred"], abs=1e-9)
    assert np.sort(ours.from_prediction) == pytest.approx(theirs["distances_pred_to_gt"], abs=1e-9)
    for tolerance in (0.0, TOLERANCE):
        expected = surface_distance.compute_surface_dice_at_tolerance(theirs, tolerance)
        assert nsd(ours, tolerance=tolerance) == pytest.approx(expected, abs=1e-9)
    assert hausdorff(ours) == pytest.approx(surface_distance.compute_robust_hausdorff(theirs, 100), abs=1e-9)
    # where the accumulated area hits 95 % exactly, rounding decides between two neighbouring distances
    either = [hausdorff(ours, percentile=percentile) for percentile in (95 - 1e-9, 95, 95 + 1e-9)]
    expected = surface_distance.compute_robust_hausdorff(theirs, 95)
    assert min(abs(value - expected) for value in either) < 1e-9
    pair = surface_distance.compute_average_surface_distance(theirs)
    assert assd(ours, pooling="directed") == pytest.approx(sum(pair) / 2, abs=1e-9)


@EXAMPLES
@given(filled_mask_pairs())
def test_voxel_edges_agree_with_medpy(masks):
    ours, (reference, prediction, spacing) = distances(masks, "voxel_edges"), masks
    order = prediction, reference, spacing
    assert hausdorff(ours) == pytest.approx(binary.hd(*order), abs=1e-9)
    assert hausdorff(ours, percentile=95, rule="linear", pooling="pooled") == pytest.approx(binary.hd95(*order))
    assert assd(ours) == pytest.approx(binary.assd(*order), abs=1e-9)
    assert ours.from_prediction.mean() == pytest.approx(binary.asd(*order), abs=1e-9)


def monai_percentile(prediction, reference, *, spacing):
    """MONAI's HD95 with its quantile in float64; the rank that torch computes in float32 is good to 1e-5 only."""
    common = {"spacing": spacing, "symmetric": True}
    directed = get_edge_surface_distance(prediction[0, 0], reference[0, 0], **common)[1]
    exact = max(torch.quantile(side.double(), 0.95).item() for side in directed)
    single = compute_hausdorff_distance(prediction, reference, percentile=95, include_background=True, spacing=spacing)
    assert exact == pytest.approx(single.item(), abs=1e-4)
    return exact


@EXAMPLES
@given(filled_mask_pairs())
def test_both_definitions_agree_with_monai(masks):
    reference, prediction, spacing = masks
    tensors = [torch.from_numpy(mask)[None, None] for mask in (prediction, reference)]
    common = {"include_background": True, "spacing": spacing}
    edges, elements = distances(masks, "voxel_edges"), distances(masks, "surface_elements")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [
            compute_surface_dice(*tensors, [TOLERANCE], **common).item(),
            compute_surface_dice(*tensors, [TOLERANCE], use_subvoxels=True, **common).item(),
            compute_hausdorff_distance(*tensors, **common).item(),
            monai_percentile(*tensors, spacing=spacing),
            compute_average_surface_distance(*tensors, symmetric=True, **common).item(),
        ]
    ours = [
        nsd(edges, tolerance=TOLERANCE),
        nsd(elements, tolerance=TOLERANCE),
        hausdorff(edges),
        hausdorff(edges, percentile=95, rule="linear"),
        assd(edges),
    ]
    assert ours == pytest.approx(expected, abs=1e-6, rel=1e-6)  # MONAI computes in float32


@EXAMPLES
@given(filled_mask_pairs())
def test_distances_equal_scipys_transform_of_the_whole_array(masks):
    reference, prediction, spacing = masks
    ours = distances(masks, "voxel_edges")
    edges = [mask ^ ndimage.binary_erosion(mask) for mask in (reference, prediction)]
    assert ours.from_reference == pytest.approx(ndimage.distance_transform_edt(~edges[1], spacing)[edges[0]], abs=1e-12)
    assert ours.from_prediction == pytest.approx(
        ndimage.distance_transform_edt(~edges[0], spacing)[edges[1]], abs=1e-12
    )


@EXAMPLES
@given(filled_mask_pairs())
def test_hausdorff_agrees_with_scikit_image_on_the_same_points(masks):
    reference, prediction, _ = masks
    framed = [np.pad(mask, 1) for mask in (reference, prediction)]
    edges = [find_boundaries(mask, connectivity=1, mode="inner") & mask for mask in framed]
    ours = distances((*framed, (1.0,) * reference.ndim), "voxel_edges")
    assert hausdorff(ours) == pytest.approx(skimage_hausdorff(*edges), abs=1e-9)


@pytest.mark.parametrize("density", [0.0005, 0.01, 0.3])
@pytest.mark.parametrize("way", [_search_plane, _transform_plane], ids=["search", "envelopes"])
def test_both_ways_through_a_plane_equal_scipys_transform(way, density):
    random = np.random.default_rng(1)
    spacing = np.array([2.9, 0.7, 1.3])
    sources, queries = (random.random((2, 9, 60, 50)) < density).astype(np.uint8)
    sources[4, 30, 20] = queries[2, 7, 41] = 1
    expected = ndimage.distance_transform_edt(sources == 0, spacing)
    steps = _steps_along_first_axis(sources, 2)
    for plane in range(9):
        found = np.empty(int(queries[plane].sum()))
        budget = (10**9,) if way is _search_plane else ()
        way(steps[plane], queries[plane], 2, spacing, found, *budget)
        assert found == pytest.approx(expected[plane][queries[plane] == 1], abs=1e-12)


def test_far_surfaces_in_a_large_box_agree_with_scipy():
    reference, prediction = np.zeros((2, 40, 70, 90), np.uint8)
    reference[:6, :6, :6] = 1
    prediction[30:, 60:, 80:] = prediction[0, 0, 89] = 1
    ours = surface_distances(reference, prediction, label=1, spacing=(3, 1, 2), definition="voxel_edges")
    edges = [side ^ ndimage.binary_erosion(side) for side in (reference, prediction)]
    maps = [ndimage.distance_transform_edt(edge == 0, (3, 1, 2)) for edge in edges]
    assert ours.from_reference == pytest.approx(maps[1][edges[0] == 1], abs=1e-12)
    assert ours.from_prediction == pytest.approx(maps[0][edges[1] == 1], abs=1e-12)


def test_two_cubes_by_hand():
    reference, prediction = np.zeros((2, 20, 20, 20), np.uint8)
    reference[5:10, 5:10, 5:10] = 1
    prediction[8:13, 5:10, 5:10] = 1  # shifted by 3 voxels of 2 mm
    for definition in ("surface_elements", "voxel_edges"):
        ours = surface_distances(reference, prediction, label=1, spacing=(2, 1, 1), definition=definition)
        assert hausdorff(ours) == pytest.approx(6.0)
        assert nsd(ours, tolerance=6.0) == 1.0
        assert nsd(ours, tolerance=5.9) < 1.0
        same = surface_distances(reference, reference, label=1, spacing=(2, 1, 1), definition=definition)
        assert (nsd(same, tolerance=0), hausdorff(same), assd(same)) == (1.0, 0.0, 0.0)


def test_surface_area_of_a_box_by_hand():
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[3:9, 3:9, 3:9] = 1
    ours = surface_distances(labels, labels, label=1, spacing=(1, 1, 1))
    faces, edges, corners = 6 * 25 * 1.0, 12 * 5 * np.sqrt(0.5), 8 * 0.125 * np.sqrt(3)
    assert ours.reference_weights.sum() == pytest.approx(faces + edges + corners)
    square = surface_distances(labels[5], labels[5], label=1, spacing=(1, 1))
    assert square.reference_weights.sum() == pytest.approx(4 * 5 + 4 * np.sqrt(0.5))


def test_an_absent_label_is_refused():
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1, 1, 1] = 1
    for pair in ((labels, labels * 2), (labels * 2, labels)):
        for definition in ("surface_elements", "voxel_edges"):
            with pytest.raises(ValueError, match="label 1 is absent"):
                surface_distances(*pair, label=1, spacing=(1, 1, 1), definition=definition)
