"""Scores of single cases: the mean of each, which is the worst and which the best, and which have a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from benchmark.evidence.measured import CellSource, Evidence, case_scores, matrices_of
from benchmark.evidence.scores import RunScores
from benchmark.scoring.conventions import DISTANCE_METRICS, get_convention

ALL_SHOWN = 4  # with more cases, only the worst, the median one and the best have a picture


def case_means(scores: RunScores, metric: str, convention: str) -> dict[str, float]:
    """Case → mean over its structures, as tables take it; NaN where the convention gives none a value.

    Empty where `metric` was not scored under `convention`.
    """
    rounding = get_convention(convention).rounding
    decimals = rounding.decimals if rounding is not None and rounding.of == "case" else None
    source = CellSource(runs=(scores.run,), convention=convention, case_decimals=decimals)
    return case_scores(matrices_of(source, metric, Evidence(scores={scores.run: scores})))


def ranked(means: Mapping[str, float], metric: str) -> list[str]:
    """Cases from the worst to the best; those without a value are left out, equal ones stand in the order of names."""
    sign = -1 if metric in DISTANCE_METRICS else 1
    valued = [case for case, value in means.items() if not math.isnan(value)]
    return sorted(valued, key=lambda case: (sign * means[case], case))


def shown_cases(ranking: Sequence[str]) -> dict[str, str]:
    """Case → its place ("worst", "median", "best", or none), of the cases that have a picture, the worst first.

    Args:
        ranking: from the worst to the best.
    """
    if not ranking:
        return {}
    places = {ranking[len(ranking) // 2]: "median", ranking[-1]: "best", ranking[0]: "worst"}
    if len(ranking) <= ALL_SHOWN:
        places.pop(ranking[len(ranking) // 2]) if len(ranking) > 2 else None
        return {case: places.get(case, "") for case in ranking}
    return {case: places[case] for case in ranking if case in places}


def main_metric(convention: str) -> str:
    """The metric by which cases are put in order: the convention's first."""
    return get_convention(convention).default_metrics[0]
