"""Instances in label maps: decoding, border removal, matching, and F1 / precision / recall at IoU thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cc3d
import numpy as np
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

Decoding = Literal["components", "boundary_aware", "labels"]


@dataclass(frozen=True)
class InstanceCounts:
    """Instances in the reference, in the prediction, and matched pairs."""

    reference: int
    prediction: int
    matched: int

    def __add__(self, other: InstanceCounts) -> InstanceCounts:
        return InstanceCounts(
            self.reference + other.reference, self.prediction + other.prediction, self.matched + other.matched
        )


def decode_instances(labels: np.ndarray, *, decoding: Decoding, foreground: int = 1, boundary: int = 2) -> np.ndarray:
    """Turn a prediction into an instance map.

    Args:
        labels: integer map of two or three axes.
        decoding: `components`, connected components of `foreground` (corners connect), everything else background (the
            released evaluation of U-Mamba and Swin-UMamba); `boundary_aware`, the same and then every pixel of class
            `boundary` that is connected to an interior joins the nearest one, so that cells keep the rim that
            the three-class encoding took from them; `labels`, the values are instances already.

    Returns:
        Integer map, 0 background, one value per instance.
    """
    if decoding == "labels":
        return labels
    seeds = connected_components(labels == foreground)
    rim = labels == boundary
    if decoding == "components" or not (seeds.any() and rim.any()):
        return seeds
    # A rim pixel belongs to the nearest interior, but not across background: its own region must touch that interior.
    regions = connected_components((seeds > 0) | rim)
    owner = _nearest(seeds > 0, rim)
    decoded = seeds.copy()
    decoded[rim] = np.where(regions[owner] == regions[rim], seeds[owner], 0)
    boxes = ndimage.find_objects(regions)
    for region in np.intersect1d(regions[rim & (decoded == 0)], regions[seeds > 0]):
        box = boxes[region - 1]  # whose rim lies nearer to another region's interior than to its own
        inside = regions[box] == region
        stray = inside & (decoded[box] == 0)
        decoded[box][stray] = seeds[box][_nearest(inside & (seeds[box] > 0), stray)]
    return decoded


def connected_components(mask: np.ndarray) -> np.ndarray:
    """Components of a boolean map of two or three axes; corners connect. Integers from 1 on, 0 outside the mask."""
    # as bytes: of booleans with even rows and odd columns cc3d 4.1.1 labels some pixels outside the mask
    return cc3d.connected_components(mask.view(np.uint8), connectivity=8 if mask.ndim == 2 else 26)


def _nearest(sources: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, ...]:
    """Index of the source pixel nearest to each query pixel."""
    nearest = ndimage.distance_transform_edt(~sources, return_distances=False, return_indices=True)
    return tuple(axis[queries] for axis in nearest)


def encode_boundaries(instances: np.ndarray, *, foreground: int = 1, boundary: int = 2) -> np.ndarray:
    """Three-class map of an instance map: pixels with a neighbour (corners included) of another value are boundary.

    The inverse of `boundary_aware` decoding for instances that keep an interior.
    """
    footprint = np.ones((3,) * instances.ndim, bool)
    lowest = ndimage.minimum_filter(instances, footprint=footprint, mode="nearest")
    highest = ndimage.maximum_filter(instances, footprint=footprint, mode="nearest")
    encoded = np.where(lowest == highest, foreground, boundary).astype(np.uint8)
    encoded[instances == 0] = 0
    return encoded


def remove_border_instances(instances: np.ndarray, *, width: int) -> np.ndarray:
    """A copy without the instances that have a pixel within `width` pixels of the frame."""
    inner = np.zeros(instances.shape, bool)
    inner[tuple(slice(width, max(length - width, width)) for length in instances.shape)] = True
    touching = np.unique(instances[~inner])
    keep = np.ones(int(instances.max(initial=0)) + 1, bool)
    keep[touching] = False
    return np.where(keep[instances], instances, 0)


def count_matches(reference: np.ndarray, prediction: np.ndarray, *, threshold: float) -> InstanceCounts:
    """Match instances one to one so that as many pairs as possible have an IoU of at least `threshold`.

    An optimal assignment that maximises the number of pairs first (stardist's matching, used by NeurIPS CellSeg) has
    as many matches as a maximum matching in the graph of the pairs above the threshold, which stays sparse.

    Args:
        reference, prediction: instance maps of equal shape, 0 background.
        threshold: above 0, at most 1.
    """
    reference_sizes = np.bincount(reference.ravel())
    prediction_sizes = np.bincount(prediction.ravel())
    reference_sizes[:1] = prediction_sizes[:1] = 0
    both = (reference > 0) & (prediction > 0)
    stride = len(prediction_sizes)
    codes, shared = np.unique(reference[both].astype(np.int64) * stride + prediction[both], return_counts=True)
    rows, columns = codes // stride, codes % stride
    ratio = shared / (reference_sizes[rows] + prediction_sizes[columns] - shared)
    good = ratio >= threshold
    shape = (len(reference_sizes), stride)
    graph = csr_array((np.ones(good.sum(), bool), (rows[good], columns[good])), shape=shape)
    matched = int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum()) if good.any() else 0
    return InstanceCounts(int((reference_sizes > 0).sum()), int((prediction_sizes > 0).sum()), matched)


def score_instances(
    reference: np.ndarray,
    prediction: np.ndarray,
    *,
    threshold: float,
    remove_border: int = 0,
    tile_from_pixels: int | None = None,
    tile_size: int = 2000,
) -> InstanceCounts:
    """Count instances and matches of a whole image.

    Args:
        reference, prediction: instance maps of equal shape.
        threshold: IoU from which a pair counts as matched.
        remove_border: drop instances within this many pixels of the frame on both sides; 0 keeps all.
        tile_from_pixels: images of at least so many pixels are cut into tiles whose counts are added, as NeurIPS
            CellSeg does from 25 million pixels on; borders are then removed per tile. None never cuts.
        tile_size: side of a tile; the last ones are filled up with background.
    """
    tiled = tile_from_pixels is not None and reference.size >= tile_from_pixels
    pairs = _tiles(reference, prediction, tile_size) if tiled else [(reference, prediction)]
    total = InstanceCounts(0, 0, 0)
    for truth, found in pairs:
        if remove_border:
            truth, found = (remove_border_instances(side, width=remove_border) for side in (truth, found))
        total += count_matches(truth, found, threshold=threshold)
    return total


def _tiles(reference: np.ndarray, prediction: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for corner in np.ndindex(*(-(-length // size) for length in reference.shape)):
        window = tuple(slice(index * size, (index + 1) * size) for index in corner)
        missing = [(0, size - length) for length in reference[window].shape]
        yield np.pad(reference[window], missing), np.pad(prediction[window], missing)


def precision(counts: InstanceCounts) -> float:
    """Matched / predicted; 0 where nothing matches."""
    return counts.matched / counts.prediction if counts.matched else 0.0


def recall(counts: InstanceCounts) -> float:
    """Matched / reference; 0 where nothing matches."""
    return counts.matched / counts.reference if counts.matched else 0.0


def f1(counts: InstanceCounts) -> float:
    """2·matched / (predicted + reference), the harmonic mean of precision and recall; 0 where nothing matches."""
    return 2 * counts.matched / (counts.prediction + counts.reference) if counts.matched else 0.0
