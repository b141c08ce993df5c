"""Distances between the surfaces of two masks, and the metrics made of them.

Two definitions of "surface", both in use and not interchangeable:

`surface_elements`: pieces of the marching-cubes surface, at voxel corners, weighted by their area (google-deepmind/
    surface-distance, Nikolov et al. 2018; MONAI with `use_subvoxels=True`). In two dimensions pieces of contour
    weighted by length.
`voxel_edges`: voxels of the mask with a face neighbour outside it, each of weight 1 (MONAI's default, medpy).

Distances are in the unit of the spacing (mm for NIfTI, pixels for images), areas in its square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from benchmark.scoring.conventions import Definition, PercentileRule, Pooling
from benchmark.scoring.kernels import corner_codes, distances_to_sources, edge_voxels
from benchmark.scoring.overlap import as_volume, measure_overlap
from benchmark.scoring.surface_elements import contour_lengths, surface_areas


@dataclass(frozen=True)
class SurfaceDistances:
    """Distance from every element of one surface to the nearest element of the other, with its weight.

    Attributes:
        from_reference, from_prediction: float64 distances from the elements of one side to the other side.
        reference_weights, prediction_weights: float64, area (length) of the element, or 1 for voxel edges.
    """

    from_reference: np.ndarray
    from_prediction: np.ndarray
    reference_weights: np.ndarray
    prediction_weights: np.ndarray


def surface_distances(
    reference: np.ndarray,
    prediction: np.ndarray,
    *,
    label: int,
    spacing: Sequence[float],
    definition: Definition = "surface_elements",
    box: tuple[np.ndarray, np.ndarray] | None = None,
    directions: np.ndarray | None = None,
) -> SurfaceDistances:
    """Measure the distances between the surfaces of one label in two maps.

    Only the box around the label in either map is looked at, with one exact distance transform per side.

    Args:
        reference, prediction: label maps [H, W] or [X, Y, Z] of equal shape; `label` occurs in both.
        label: the label whose surfaces are compared.
        spacing: pixel or voxel size per axis.
        definition: which surface; see the module's docstring.
        box: start and stop of the box around the label (three axes each), where already known.
        directions: unit vectors of the axes as columns [3, axes], where they are not orthogonal: distances are then
            those between the positions in space. Weights stay those of right angles.

    Raises:
        ValueError: if the label is absent from a map: distances to nothing have no value; conventions say what scores.
    """
    planar = reference.ndim == 2
    sides = (as_volume(reference), as_volume(prediction))
    start, stop = box or measure_overlap(reference, prediction).box(label)
    if definition == "surface_elements":
        codes = [corner_codes(side, label, start, stop) for side in sides]
        if planar:
            codes = [code[:1] for code in codes]  # the second layer of corners belongs to a third dimension
        weight_of = contour_lengths(spacing) if planar else surface_areas(spacing)
    else:
        codes = [edge_voxels(side, label, start, stop, planar) for side in sides]
        weight_of = np.array([0.0, 1.0, 0.0])
    full = len(weight_of) - 1
    weights = [weight_of[code[(code > 0) & (code < full)]] for code in codes]
    if not (len(weights[0]) and len(weights[1])):
        raise ValueError(f"label {label} is absent from a map; surfaces cannot be compared")
    if directions is None:
        sampling = np.array([1.0, *spacing] if planar else spacing, dtype=np.float64)
        distances = [distances_to_sources(codes[1 - side], codes[side], full, sampling) for side in (0, 1)]
    else:
        distances = _distances_in_space(codes, full, directions * np.asarray(spacing))
    return SurfaceDistances(
        from_reference=distances[0],
        from_prediction=distances[1],
        reference_weights=weights[0],
        prediction_weights=weights[1],
    )


def _distances_in_space(codes: Sequence[np.ndarray], full: int, steps: np.ndarray) -> list[np.ndarray]:
    """From each surface to the nearest point of the other, where a step along an axis is a column of `steps`."""
    points = [np.argwhere((code > 0) & (code < full))[:, -steps.shape[1] :] @ steps.T for code in codes]
    return [cKDTree(points[1 - side]).query(points[side])[0] for side in (0, 1)]


def nsd(distances: SurfaceDistances, *, tolerance: float) -> float:
    """Normalised surface distance (surface Dice): the share of both surfaces that lies within `tolerance` of the other.

    Nikolov et al. 2018, arXiv 1809.04430; distances equal to the tolerance count as within. Range 0 to 1.
    """
    within = distances.reference_weights[distances.from_reference <= tolerance].sum()
    within += distances.prediction_weights[distances.from_prediction <= tolerance].sum()
    return float(within / (distances.reference_weights.sum() + distances.prediction_weights.sum()))


def hausdorff(
    distances: SurfaceDistances,
    *,
    percentile: float = 100.0,
    rule: PercentileRule = "step",
    pooling: Pooling = "directed",
) -> float:
    """Hausdorff distance or a percentile of it, in the unit of the spacing.

    Args:
        percentile: 100 for the maximum (HD), 95 for HD95.
        rule: `step`, the first distance at which the accumulated weight reaches the percentile (surface-distance's
            robust Hausdorff), or `linear`, numpy's interpolation between unweighted order statistics (MONAI, medpy).
        pooling: `directed` takes the larger percentile of the two directions (MONAI, surface-distance), `pooled` one
            percentile of both directions together (medpy's hd95).
    """
    sides = [
        (distances.from_reference, distances.reference_weights),
        (distances.from_prediction, distances.prediction_weights),
    ]
    if percentile == 100.0:
        return float(max(values.max() for values, _ in sides))
    if pooling == "pooled":
        values, weights = (np.concatenate(pair) for pair in zip(*sides, strict=True))
        sides = [(values, weights)]
    if rule == "linear":
        return float(max(np.percentile(values, percentile) for values, _ in sides))
    return float(max(_weighted_percentile(values, weights, percentile) for values, weights in sides))


def _weighted_percentile(values: np.ndarray, weights: np.ndarray, percentile: float) -> float:
    order = np.argsort(values)
    values, weights = values[order], weights[order]
    share = np.cumsum(weights) / np.sum(weights)
    return float(values[min(int(np.searchsorted(share, percentile / 100.0)), len(values) - 1)])


def assd(distances: SurfaceDistances, *, pooling: Pooling = "pooled") -> float:
    """Average symmetric surface distance, in the unit of the spacing.

    Args:
        pooling: `pooled`, the weighted mean over the elements of both surfaces (medpy `assd`, MONAI with
            `symmetric`), or `directed`, the mean of the two directed means (of the pair that surface-distance returns).
    """
    sums = [
        float(np.sum(distances.from_reference * distances.reference_weights)),
        float(np.sum(distances.from_prediction * distances.prediction_weights)),
    ]
    weights = [float(np.sum(distances.reference_weights)), float(np.sum(distances.prediction_weights))]
    if pooling == "pooled":
        return sum(sums) / sum(weights)
    return (sums[0] / weights[0] + sums[1] / weights[1]) / 2
