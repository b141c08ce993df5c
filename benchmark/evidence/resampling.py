"""Bootstrap over cases (and seeds): intervals, effect sizes, and how stable a ranking is.

One matrix of resampling weights serves every statistic here: row r says how often each case was drawn in resample r, so
a resampled mean is a product of matrices and 10,000 resamples of a table take milliseconds. NaN marks a score that
does not enter its mean; an infinite one (a distance to nothing) does, and makes it infinite. Generators are seeded,
hence the same scores always give the same intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from benchmark.evidence.statistics import paired_differences

Order = Literal["cases_then_classes", "classes_then_cases"]
RESAMPLES = 10_000
_BLOCK = 4_000_000  # weights held at once (32 MB), whatever the number of cases


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval; both ends equal the value where there is one case, NaN without any."""

    value: float
    lower: float
    upper: float
    level: float = 0.95


@dataclass(frozen=True)
class Effect:
    """How far the first of two paired methods is ahead of the second.

    Attributes:
        difference: mean paired difference, in the unit of the scores, with its bootstrap interval.
        cohen_dz: mean difference over its standard deviation; 0 if nothing differs, ±inf if the difference is constant.
        rank_biserial: share of rank sums in favour minus share against (Kerby 2014), in [-1, 1].
        better: share of cases in which the first is ahead; ties count half.
        n: pairs.
    """

    difference: Estimate
    cohen_dz: float
    rank_biserial: float
    better: float
    n: int


@dataclass(frozen=True)
class RankStability:
    """Ranks of methods under resampling of cases; 1 is best, ties share the mean rank.

    Attributes:
        ranks: [methods], on all cases.
        lower, upper: [methods], 95 % interval of the rank.
        first: [methods], share of resamples in which the method is best (ties shared).
        kendall: mean Kendall tau-b between the resampled rankings and the one on all cases; 1 is a stable table.
    """

    ranks: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    first: NDArray[np.float64]
    kendall: float


def average(scores: ArrayLike, order: Order = "classes_then_cases") -> float:
    """Mean of scores [cases, classes] in the stated order, NaN left out of each mean; NaN if nothing is left."""
    matrix = _matrix(scores)
    return float(_weighted_average(matrix, np.ones((1, len(matrix))), order)[0])


def bootstrap_average(
    scores: ArrayLike,
    order: Order = "classes_then_cases",
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Percentile interval of `average` under resampling of cases.

    Args:
        scores: [cases], [cases, classes], or [seeds, cases, classes]: with several seeds these are resampled as well,
            crossed with the cases (each resample draws seeds and cases independently).
        order: which mean comes first.
    """
    stack = np.asarray(scores, dtype=float)
    stack = stack[None] if stack.ndim == 2 else stack[None, :, None] if stack.ndim == 1 else stack
    value = float(np.mean([average(matrix, order) for matrix in stack])) if stack.size else np.nan
    if np.isnan(value):
        return Estimate(np.nan, np.nan, np.nan, level)
    generator = np.random.default_rng(seed)
    drawn = []
    for size in _blocks(resamples, stack.shape[1]):
        cases = draw_weights(stack.shape[1], size, generator)
        by_seed = np.stack([_weighted_average(matrix, cases, order) for matrix in stack], axis=1)
        seeds = draw_weights(len(stack), size, generator) / len(stack)
        drawn.append(np.multiply(by_seed, seeds, out=np.zeros_like(seeds), where=seeds > 0).sum(axis=1))
    values = np.concatenate(drawn)
    # nothing lies between a number and infinity
    method: Literal["inverted_cdf", "linear"] = "inverted_cdf" if np.isinf(values).any() else "linear"
    lower, upper = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2], method=method)
    return Estimate(value, float(lower), float(upper), level)


def seed_interval(values: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Student's t interval of the mean over seeds (few values: the bootstrap would be far too narrow).

    A single seed has an unbounded interval: one run does not show how much runs differ.
    """
    array = np.asarray(values, dtype=float)
    value = float(array.mean())
    if len(array) < 2:
        return Estimate(value, -np.inf, np.inf, level)
    half = float(scipy.stats.t.ppf((1 + level) / 2, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array)))
    return Estimate(value, value - half, value + half, level)


def paired_effect(first: ArrayLike, second: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Effect:
    """Effect sizes of two methods' scores [cases]; pairs with a missing side are left out, no pairs give NaN."""
    difference = paired_differences(first, second)
    n = len(difference)
    if n == 0:
        return Effect(Estimate(np.nan, np.nan, np.nan), np.nan, np.nan, np.nan, 0)
    mean, deviation = difference.mean(), difference.std(ddof=1) if n > 1 else np.nan
    if np.ptp(difference) == 0 and n > 1:
        deviation = 0.0
    dz = mean / deviation if deviation != 0 else np.copysign(np.inf, mean) if mean else 0.0
    ranks = scipy.stats.rankdata(np.abs(difference[difference != 0]))
    signs = np.sign(difference[difference != 0])
    rank_biserial = float((ranks * signs).sum() / ranks.sum()) if len(ranks) else 0.0
    better = float(np.mean((difference > 0) + 0.5 * (difference == 0)))
    interval = bootstrap_average(difference, resamples=resamples, seed=seed)
    return Effect(interval, float(dz), rank_biserial, better, n)


def rank_stability(
    scores: ArrayLike, *, higher_is_better: bool = True, resamples: int = RESAMPLES, seed: int = 0
) -> RankStability:
    """Bootstrap the ranking of methods from their scores [cases, methods].

    A method without a score on a case is averaged over its other cases; a method without any ranks last.
    """
    table = np.asarray(scores, dtype=float) * (1.0 if higher_is_better else -1.0)
    observed = _ranks(_weighted_means(table, np.ones((1, len(table)))))[0]
    generator = np.random.default_rng(seed)
    sizes = _blocks(resamples, len(table))
    ranks = np.concatenate(
        [_ranks(_weighted_means(table, draw_weights(len(table), size, generator))) for size in sizes]
    )
    best = ranks == ranks.min(axis=1, keepdims=True)
    lower, upper = np.quantile(ranks, [0.025, 0.975], axis=0, method="closest_observation")
    return RankStability(observed, lower, upper, _shares(best), _mean_kendall(observed, ranks))


def draw_weights(cases: int, resamples: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """[resamples, cases]: how often each case was drawn; each row sums to `cases`."""
    drawn = generator.integers(0, cases, size=(resamples, cases)) + cases * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * cases).reshape(resamples, cases).astype(float)


def _weighted_average(matrix: NDArray, weights: NDArray, order: Order) -> NDArray[np.float64]:
    """Averages of scores [cases, classes] under weights [resamples, cases] → [resamples]."""
    if order == "cases_then_classes":
        return row_means(_weighted_means(matrix, weights))
    return _weighted_means(row_means(matrix)[:, None], weights)[:, 0]


def _weighted_means(matrix: NDArray, weights: NDArray) -> NDArray[np.float64]:
    """Means of each column [cases, columns] under weights [resamples, cases], NaN left out → [resamples, columns]."""
    present = ~np.isnan(matrix)
    total = weights @ np.where(np.isfinite(matrix), matrix, 0.0)
    for infinite in (np.inf, -np.inf):
        if (matrix == infinite).any():
            total[weights @ (matrix == infinite) > 0] += infinite
    if present.all():
        return total / weights.sum(axis=1, keepdims=True)
    count = weights @ present
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def row_means(matrix: NDArray) -> NDArray[np.float64]:
    """Mean of each row of a matrix, NaN left out; NaN for a row without values (and no warning about it)."""
    present = ~np.isnan(matrix)
    count = present.sum(axis=1)
    total = np.where(present, matrix, 0.0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(matrix), np.nan), where=count > 0)


def _ranks(means: NDArray) -> NDArray[np.float64]:
    """Rank 1 for the highest mean; means equal up to rounding noise are ties; NaN ranks last."""
    return scipy.stats.rankdata(-np.nan_to_num(np.round(means, 12), nan=-np.inf), axis=1)


def _shares(best: NDArray) -> NDArray[np.float64]:
    return (best / best.sum(axis=1, keepdims=True)).mean(axis=0)


def _mean_kendall(observed: NDArray, ranks: NDArray) -> float:
    """Mean tau-b of each row of ranks with `observed`; NaN where either has no two different ranks."""
    above, below = np.triu_indices(len(observed), 1)
    reference = np.sign(observed[above] - observed[below])
    drawn = np.sign(ranks[:, above] - ranks[:, below])
    norm = np.sqrt((reference != 0).sum() * (drawn != 0).sum(axis=1).astype(float))
    agreement = np.divide(drawn @ reference, norm, out=np.full(len(ranks), np.nan), where=norm > 0)
    return float(row_means(agreement[None])[0])


def _matrix(scores: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(scores, dtype=float)
    return array[:, None] if array.ndim == 1 else array


def _blocks(resamples: int, cases: int) -> list[int]:
    """Resamples split into blocks whose weights fit into memory together."""
    whole, rest = divmod(resamples, size := max(1, _BLOCK // cases))
    return [size] * whole + ([rest] if rest else [])
