"""Scores of one mask at a time: every structure in every slice whose reference shows it is a case of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from benchmark.errors import InputError
from benchmark.scoring.cases import Score, choose_metrics, score_case
from benchmark.scoring.conventions import VOLUME_METRICS, Convention
from benchmark.scoring.images import Geometry, LabelMap, check_geometry


def score_slices(
    reference: LabelMap,
    prediction: LabelMap | None,
    *,
    axis: int | None,
    labels: Mapping[int, str],
    conventions: Sequence[Convention],
    metrics: Sequence[str] | None = None,
) -> list[Score]:
    """Scores of the slices of a volume, or of an image as it is.

    Args:
        reference, prediction: as of `score_case`, on one grid.
        axis: of the array along which slices lie; None for images.
        labels, conventions, metrics: as of `score_case`; sizes of structures are left out.

    Returns:
        Scores of each slice under its number (`part`), of the structures that its reference shows alone. A structure
        that no slice shows has one score without a value for the whole case.

    Raises:
        InputError: as `score_case`, or a volume's axis is not known.
    """
    if reference.array.ndim == 3 and axis is None:
        raise InputError(
            "it is not known along which axis the slices of this case lie",
            expected="a convention of whole cases",
            remedy="score it with `score-run`",
        )
    if prediction is not None:
        check_geometry(reference.geometry, prediction.geometry, where="prediction")
    present = _shown(reference, labels)
    absent = {label: name for label, name in labels.items() if label not in present}
    scores = [
        score._replace(value=math.nan)
        for convention in conventions
        for score in _scores(reference, prediction, absent, convention, conventions, metrics)
    ]
    truths = _parts(reference, axis)
    answers = [None] * len(truths) if prediction is None else _parts(prediction, axis)
    for number, (truth, found) in enumerate(zip(truths, answers, strict=True)):
        asked = _shown(truth, labels)
        for convention in conventions:
            own = _scores(truth, found, asked, convention, conventions, metrics)
            scores += [score._replace(part=str(number)) for score in own]
    return scores


def _scores(
    reference: LabelMap,
    prediction: LabelMap | None,
    labels: Mapping[int, str],
    convention: Convention,
    among: Sequence[Convention],
    metrics: Sequence[str] | None,
) -> list[Score]:
    """`score_case` for one of several conventions, without sizes of structures; nothing where there are no labels."""
    wanted = [metric for metric in choose_metrics(convention, metrics, among) if metric not in VOLUME_METRICS]
    if not labels or not wanted:
        return []
    return score_case(reference, prediction, labels=labels, conventions=[convention], metrics=wanted)


def _shown(reference: LabelMap, labels: Mapping[int, str]) -> dict[int, str]:
    """Those of the labels that a map shows."""
    counts = np.bincount(reference.array.ravel(), minlength=max(labels, default=0) + 1)
    return {label: name for label, name in labels.items() if counts[label]}


def _parts(labels: LabelMap, axis: int | None) -> list[LabelMap]:
    """The slices of a map, each with the sides that are left."""
    if labels.array.ndim == 2:
        return [labels]
    assert axis is not None  # `score_slices` asks for it
    spacing = tuple(side for number, side in enumerate(labels.geometry.spacing) if number != axis)
    planes = [np.ascontiguousarray(plane) for plane in np.moveaxis(labels.array, axis, 0)]
    return [LabelMap(plane, Geometry(plane.shape, spacing)) for plane in planes]
