"""Scores of one case: two label maps, the classes, one or several conventions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from benchmark.errors import InputError, did_you_mean
from benchmark.scoring import instances as instance_metrics
from benchmark.scoring import overlap as overlap_metrics
from benchmark.scoring import surface as surface_metrics
from benchmark.scoring.conventions import (
    DISTANCE_METRICS,
    INSTANCE_METRICS,
    OVERLAP_METRICS,
    VOLUME_METRICS,
    Convention,
    Crop,
    Definition,
    Status,
)
from benchmark.scoring.images import Geometry, LabelMap, check_geometry
from benchmark.scoring.instances import InstanceCounts
from benchmark.scoring.overlap import Overlap, measure_overlap
from benchmark.scoring.surface import SurfaceDistances, surface_distances


class Score(NamedTuple):
    """One value. `value` is NaN where the convention gives the situation none; `status` names the situation; `part` is
    the slice where slices are scored one by one."""

    class_name: str
    metric: str
    value: float
    convention: str
    status: str
    part: str = ""


@dataclass
class Pair:
    """Two label maps on one grid, counted once; distances of the class in hand are measured once per definition."""

    reference: np.ndarray
    prediction: np.ndarray

    def __post_init__(self) -> None:
        self._label = 0
        self._distances: dict[tuple, SurfaceDistances] = {}

    @cached_property
    def overlap(self) -> Overlap:
        return measure_overlap(self.reference, self.prediction)

    @cached_property
    def as_volume(self) -> Pair:
        """The same images as volumes of one slice."""
        return Pair(self.reference[None], self.prediction[None])

    def count(self, side: str, label: int) -> int:
        counts = getattr(self.overlap, side)
        return int(counts[label]) if label < len(counts) else 0

    def distances(
        self, label: int, spacing: tuple[float, ...], definition: Definition, directions: np.ndarray | None = None
    ) -> SurfaceDistances:
        if label != self._label:
            self._label, self._distances = label, {}  # one class at a time bounds the memory
        key = (spacing, definition, directions is None)
        if key not in self._distances:
            self._distances[key] = surface_distances(
                self.reference,
                self.prediction,
                label=label,
                spacing=spacing,
                definition=definition,
                box=self.overlap.box(label),
                directions=directions,
            )
        return self._distances[key]


def score_case(
    reference: LabelMap,
    prediction: LabelMap | None,
    *,
    labels: Mapping[int, str],
    conventions: Sequence[Convention],
    metrics: Iterable[str] | None = None,
) -> list[Score]:
    """Score one case under one or several conventions.

    Args:
        reference, prediction: label maps on one grid; None for a prediction whose file is missing.
        labels: label value → class name of the classes to score; other values count as background.
        conventions: the conventions; measurements that two of them share are made once.
        metrics: which to compute; default the convention's own. A metric that none of the conventions defines is an
            error, one that only some define is computed for those.

    Raises:
        InputError: if grids differ, a metric is unknown, or a class has no tolerance.
    """
    chosen = {convention.name: choose_metrics(convention, metrics, conventions) for convention in conventions}
    scores: list[Score] = []
    pair = None
    if prediction is not None:
        check_geometry(reference.geometry, prediction.geometry, where="prediction")
        pair = Pair(reference.array, prediction.array)
    for label, name in labels.items():
        for convention in conventions:
            scorer = _ClassScorer(reference, pair, label, name, convention)
            scores += [scorer.score(metric) for metric in chosen[convention.name] if metric not in INSTANCE_METRICS]
    for convention in conventions:
        wanted = [metric for metric in chosen[convention.name] if metric in INSTANCE_METRICS]
        if wanted:
            scores += _instance_scores(reference, prediction, labels, convention, wanted)
    return scores


def choose_metrics(
    convention: Convention, metrics: Iterable[str] | None, among: Sequence[Convention] = ()
) -> tuple[str, ...]:
    """The wanted metrics that a convention defines.

    Raises:
        InputError: a metric that neither it nor one of `among` defines.
    """
    if metrics is None:
        return convention.default_metrics
    asked = {other.name: other for other in (convention, *among)}
    known = dict.fromkeys([*(metric for other in asked.values() for metric in other.rules), *VOLUME_METRICS])
    for metric in metrics:
        if metric not in known:
            asks = f"Convention {convention.name} does not define" if len(asked) == 1 else "No convention defines"
            raise InputError(
                f"{asks} {metric}{did_you_mean(metric, known)}",
                expected=f"one of {', '.join(known)}",
                found=metric,
                remedy="choose one of these metrics, or another convention",
            )
    return tuple(metric for metric in metrics if metric in convention.rules or metric in VOLUME_METRICS)


def spacing_of(convention: Convention, reference: LabelMap) -> tuple[float, ...]:
    """Spacing per axis that a convention measures with."""
    axes = reference.array.ndim
    if convention.spacing == "header":
        return reference.geometry.spacing
    if convention.spacing == "unit":
        return (1.0,) * axes
    if len(convention.spacing) != axes:
        raise InputError(
            f"Convention {convention.name} is for {len(convention.spacing)}-dimensional label maps",
            expected=f"spacing {convention.spacing}",
            found=f"a map of shape {reference.array.shape}",
        )
    return convention.spacing


def counts_pixels(convention: Convention, geometry: Geometry) -> bool:
    """Whether the convention measures this grid in pixels: a picture, or an image by the spacing `unit`. One slice of
    a volume has millimetres."""
    return len(geometry.shape) == 2 and (geometry.is_picture or convention.spacing == "unit")


@dataclass(frozen=True)
class _ClassScorer:
    """One class of one case under one convention."""

    reference: LabelMap
    pair: Pair | None
    label: int
    name: str
    convention: Convention

    def score(self, metric: str) -> Score:
        situation = self.situation
        if metric in VOLUME_METRICS:
            value = self._volume(metric)
        elif situation != "ok":
            value = self.convention.empty_value(metric, situation)
            if situation == "empty_prediction" and self._cropped is None:
                value = math.nan
        else:
            value = self._measure(metric)
        rounding = self.convention.rounding
        if rounding and rounding.of == "value" and metric not in VOLUME_METRICS:
            value = float(np.round(value, rounding.decimals))
        return Score(self.name, metric, value, self.convention.name, situation)

    @cached_property
    def situation(self) -> Status:
        if self.pair is None:
            return "missing_prediction"
        return _PRESENCE[self.pair.count("reference", self.label) > 0, self.pair.count("prediction", self.label) > 0]

    def _volume(self, metric: str) -> float:
        side = metric.removeprefix("volume_")
        size = self.reference.geometry.voxel_size
        if self.pair is not None:
            return self.pair.count(side, self.label) * size
        if side == "prediction":
            return math.nan
        return float(np.count_nonzero(self.reference.array == self.label)) * size

    @cached_property
    def _cropped(self) -> Pair | None:
        """The maps within the convention's crop; None where it leaves nothing."""
        crop = self.convention.crop
        name = self.convention.plain_name(self.name)
        if self.pair is None or crop is None or name not in crop.classes or self.reference.array.ndim != 3:
            return self.pair
        return _crop_to_reference(self.pair, self.label, crop)

    def _measure(self, metric: str) -> float:
        pair = self._cropped
        if pair is None:
            return math.nan
        if not pair.count("prediction", self.label):  # the crop has left nothing of it
            return self.convention.empty_value(metric, "empty_prediction")
        if metric in OVERLAP_METRICS:
            return float(_OVERLAP[metric](pair.overlap)[self.label])
        value = self._surface_value(metric, pair)
        limit = self.convention.worst_distance
        return min(value, limit) if limit is not None and metric in DISTANCE_METRICS else value

    def _surface_value(self, metric: str, pair: Pair) -> float:
        surface = self.convention.surface
        assert surface is not None  # a convention with a surface metric has it
        spacing = spacing_of(self.convention, self.reference)
        in_pixels = counts_pixels(self.convention, self.reference.geometry)
        directions = self.reference.geometry.directions if self.convention.spacing == "header" else None
        if len(spacing) == 2 and surface.planar_as_volume:
            pair, spacing, directions = pair.as_volume, (1.0, *spacing), None
        distances = pair.distances(self.label, spacing, surface.definition, directions)
        if metric == "nsd":
            return surface_metrics.nsd(distances, tolerance=self.convention.tolerance(self.name, planar=in_pixels))
        if metric == "assd":
            return surface_metrics.assd(distances, pooling=surface.assd_pooling)
        return surface_metrics.hausdorff(
            distances,
            percentile=100.0 if metric == "hd" else surface.percentile,
            rule=surface.percentile_rule,
            pooling=surface.hausdorff_pooling,
        )


_PRESENCE: dict[tuple[bool, bool], Status] = {  # (in the reference, in the prediction)
    (True, True): "ok",
    (True, False): "empty_prediction",
    (False, True): "empty_reference",
    (False, False): "both_empty",
}
_OVERLAP: dict[str, Callable[[Overlap], np.ndarray]] = {"dsc": overlap_metrics.dsc, "iou": overlap_metrics.iou}


def _crop_to_reference(pair: Pair, label: int, crop: Crop) -> Pair | None:
    """The slices between the reference's first and last of a label; None where an exclusive bound leaves none."""
    first, last = pair.overlap.boxes[0, label, crop.axis]
    stop = last + 1 if crop.upper == "inclusive" else last
    if stop <= first:
        return None
    window = tuple(slice(first, stop) if axis == crop.axis else slice(None) for axis in range(3))
    return Pair(np.ascontiguousarray(pair.reference[window]), np.ascontiguousarray(pair.prediction[window]))


def _instance_scores(
    reference: LabelMap,
    prediction: LabelMap | None,
    labels: Mapping[int, str],
    convention: Convention,
    metrics: Sequence[str],
) -> list[Score]:
    """F1, precision and recall of the instances; the class is the foreground's. Later thresholds are `f1@0.75`."""
    rules = convention.instances
    assert rules is not None  # a convention with an instance metric has them
    name = labels.get(rules.foreground, "instances")
    decoded = None
    if prediction is not None:
        decoded = instance_metrics.decode_instances(
            prediction.array, decoding=rules.decoding, foreground=rules.foreground, boundary=rules.boundary
        )
    scores = []
    for threshold in rules.thresholds:
        suffix = "" if threshold == rules.thresholds[0] else f"@{threshold:g}"
        counts = None
        if decoded is not None:
            counts = instance_metrics.score_instances(
                reference.array,
                decoded,
                threshold=threshold,
                remove_border=rules.remove_border,
                tile_from_pixels=rules.tile_from_pixels,
                tile_size=rules.tile_size,
            )
        situation = _instance_situation(counts)
        for metric in metrics:
            if situation == "ok":
                assert counts is not None
                value = _INSTANCES[metric](counts)
            else:
                value = convention.empty_value(metric, situation)
            if convention.rounding:
                value = float(np.round(value, convention.rounding.decimals))
            scores.append(Score(name, metric + suffix, value, convention.name, situation))
    return scores


_INSTANCES = {
    "f1": instance_metrics.f1,
    "precision": instance_metrics.precision,
    "recall": instance_metrics.recall,
}


def _instance_situation(counts: InstanceCounts | None) -> Status:
    if counts is None:
        return "missing_prediction"
    return _PRESENCE[counts.reference > 0, counts.prediction > 0]
