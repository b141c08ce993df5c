"""Scores of one mask at a time: every structure in every slice whose reference shows it is a case of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmark.errors import InputError
from benchmark.scoring.cases import Score, choose_metrics, score_case
from benchmark.scoring.conventions import VOLUME_METRICS, Convention
from benchmark.scoring.images import Geometry, LabelMap


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
        Scores of each slice under its number (`part`), of the structures that its reference shows alone; empty where
        it shows none at all.

    Raises:
        InputError: as `score_case`, or a volume's axis is not known.
    """
    if reference.array.ndim == 3 and axis is None:
        raise InputError(
            "it is not known along which axis the slices of this case lie",
            expected="a convention of whole cases",
            remedy="score it with `score-run`",
        )
    scores: list[Score] = []
    truths = _parts(reference, axis)
    answers = [None] * len(truths) if prediction is None else _parts(prediction, axis)
    for number, (truth, found) in enumerate(zip(truths, answers, strict=True)):
        shown = np.unique(truth.array)
        asked = {label: name for label, name in labels.items() if label in shown}
        for convention in conventions if asked else ():
            wanted = [one for one in choose_metrics(convention, metrics, conventions) if one not in VOLUME_METRICS]
            own = score_case(truth, found, labels=asked, conventions=[convention], metrics=wanted)
            scores += [score._replace(part=str(number)) for score in own]
    return scores


def _parts(labels: LabelMap, axis: int | None) -> list[LabelMap]:
    """The slices of a map, each with the sides that are left."""
    if labels.array.ndim == 2:
        return [labels]
    spacing = tuple(side for number, side in enumerate(labels.geometry.spacing) if number != axis)
    planes = [np.ascontiguousarray(plane) for plane in np.moveaxis(labels.array, axis, 0)]
    return [LabelMap(plane, Geometry(plane.shape, spacing)) for plane in planes]
