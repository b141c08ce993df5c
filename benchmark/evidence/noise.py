"""What is known of a rebuilt score's noise: its interval, and the band that a difference is judged against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from benchmark.catalog.published import Published
from benchmark.evidence.resampling import Estimate, Order, average, bootstrap_average, row_means, seed_interval
from benchmark.evidence.scores import ScoreMatrix
from benchmark.evidence.verdict import (
    INTERVAL_LEVEL,
    Band,
    Rebuilt,
    band_from_spread,
    borrowed_band,
)
from benchmark.files import load_yaml

FEW_CASES = 20
MINIMUM_SEEDS = 3  # the factor of two seeds is 15.6: such a band excludes nothing, and a borrowed one says more
PREDICTION_LEVEL = 0.95


def with_interval(
    values: Sequence[float],
    matrices: Sequence[ScoreMatrix],
    *,
    order: Order,
    statistic: str,
    test_cases: frozenset[str],
    unit: float,
) -> tuple[Rebuilt, str]:
    """The value with the interval that the verdict needs, and what that interval runs over (docs/verdicts.md).

    Args:
        values: one per seed, in the printed unit.
        matrices: the seeds' scores, not in that unit.
        order, statistic: how a matrix becomes a value.
        test_cases: the published test set; empty if unknown.
        unit: of the printed value.
    """
    if not math.isfinite(sum(values)):
        return Rebuilt.point(float(np.mean(values)), len(values)), ""
    same_cases = bool(test_cases) and set(matrices[0].cases) == test_cases
    sampled = not same_cases and statistic == "mean"
    if len(values) == 1 and not sampled:
        return Rebuilt.point(values[0]), ""
    if len(values) == 1:
        estimate = _over_cases(matrices[0].values, order)
        return Rebuilt(estimate.value / unit, estimate.lower / unit, estimate.upper / unit), "cases"
    seeds = seed_interval(values, level=INTERVAL_LEVEL)
    if not sampled or len({(matrix.cases, matrix.classes) for matrix in matrices}) > 1:
        return Rebuilt(seeds.value, seeds.lower, seeds.upper, len(values)), "seeds"
    # Independent sources of noise add as variances do. Cases are resampled by the seeds' mean score of each.
    cases = _over_cases(_mean_over(matrices), order)
    below = math.hypot(seeds.value - seeds.lower, (cases.value - cases.lower) / unit)
    above = math.hypot(seeds.upper - seeds.value, (cases.upper - cases.value) / unit)
    return Rebuilt(seeds.value, seeds.value - below, seeds.value + above, len(values)), "seeds and cases"


def _over_cases(scores: NDArray[np.float64], order: Order) -> Estimate:
    """Interval of the average of scores [cases, classes] that the sampling of cases gives.

    The bootstrap of a few cases is far too narrow, that of a single one has no width at all. So below `FEW_CASES` it is
    Student's t of the cases' means, around the average; for one case that is unbounded.
    """
    means = row_means(scores)
    means = means[~np.isnan(means)]
    if len(means) >= FEW_CASES:
        return bootstrap_average(scores, order, level=INTERVAL_LEVEL)
    value, student = average(scores, order), seed_interval(means, level=INTERVAL_LEVEL)
    return Estimate(
        value, value - (student.value - student.lower), value + (student.upper - student.value), INTERVAL_LEVEL
    )


def prediction_factor(seeds: int) -> float:
    """In how many standard deviations of `seeds` runs around their mean a further run lies in 95 % of experiments.

    Half the width of the prediction interval of one further normal value, t·√(1 + 1/n) with n - 1 degrees of freedom
    (Hahn and Meeker, Statistical Intervals, 1991). Unlike a limit for a known deviation, such as ISO
    5725-6's 1.96·√2, it counts that few runs do not know their own deviation. Infinite below two runs.
    """
    if seeds < 2:
        return math.inf
    return float(scipy.stats.t.ppf((1 + PREDICTION_LEVEL) / 2, seeds - 1)) * math.sqrt(1 + 1 / seeds)


def band_from_seeds(deviation: float, seeds: int) -> Band | None:
    """How far one more run, such as the published one, may lie from the mean of `seeds` runs of one procedure, which
    scatter with standard deviation `deviation` (over n - 1).

    None for fewer than three seeds, or where the deviation is not finite.
    """
    if seeds < MINIMUM_SEEDS or not math.isfinite(deviation):
        return None
    return Band(prediction_factor(seeds) * deviation, f"prediction interval of {seeds} seeds")


def band_of(
    values: Sequence[float], published: Published, *, cases: int, dataset: str, metric: str, unit: float
) -> Band | None:
    """The first that exists: our own seeds, a band borrowed for this task, the paper's ± over cases."""
    several = len(values) > 1 and bool(np.isfinite(values).all())
    own = band_from_seeds(float(np.std(values, ddof=1)), len(values)) if several else None
    if own:
        return own
    known = _noise_bands().get(metric, {})
    entry = known.get(dataset) or known.get("default")
    if entry:
        return borrowed_band(round(entry["half_width"] / unit, 9), entry["source"])
    return band_from_spread(float(published.spread), cases) if published.spread is not None else None


def _mean_over(matrices: Sequence[ScoreMatrix]) -> NDArray[np.float64]:
    """Mean over seeds of each score [cases, classes] of matrices with equal names; NaN where no seed has one."""
    stack = np.stack([matrix.values for matrix in matrices])
    return row_means(stack.reshape(len(stack), -1).T).reshape(stack.shape[1:])


@lru_cache(maxsize=1)
def _noise_bands() -> dict[str, Any]:
    return load_yaml(Path(__file__).with_name("noise_bands.yaml").read_text(encoding="utf-8"))
