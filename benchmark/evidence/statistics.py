"""Tests of whether methods differ: the published one-way ANOVA, and beside it what paired data call for.

The methods of one table are scored on the same cases, so their scores are paired. A one-way ANOVA treats them as
independent groups and loses power to the variation between cases; it is computed because the papers report it. Every
function takes float arrays in which NaN marks a missing score (an infinite distance counts as missing), and returns a
`Test` for every input: degenerate data (ties, constant columns, two cases) give a defined p-value or NaN, with a note
that says why.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import product

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

TIE_DIGITS = 12  # differences below 1e-12 are rounding noise of the mean, not an order of the methods
PERMUTATIONS = 20_000
_CHUNK = 2**22  # random signs held at once


@dataclass(frozen=True)
class Test:
    """Outcome of one test.

    Attributes:
        name: what was computed.
        statistic, p: NaN where the data allow none; the note then says why.
        n: cases (or values, for an unpaired test) that took part.
        note: how degenerate data were treated; empty for ordinary data.
    """

    __test__ = False  # not a class of tests, for pytest

    name: str
    statistic: float
    p: float
    n: int
    note: str = ""


def one_way_anova(*groups: ArrayLike) -> Test:
    """One-way analysis of variance over independent groups, as published by Swin SMT (section 3).

    Missing scores are dropped group by group. All values equal: F = 0, p = 1. No variation within groups whose means
    differ: F = inf, p = 0. Fewer than two groups or a group without values: NaN.
    """
    arrays = [_present(group) for group in groups]
    n = sum(map(len, arrays))
    if len(arrays) < 2 or min(map(len, arrays), default=0) == 0 or n <= len(arrays):
        return Test("one-way ANOVA", np.nan, np.nan, n, "too few values")
    within = max(np.ptp(array) for array in arrays)
    means = [array.mean() for array in arrays]
    if within <= 10.0**-TIE_DIGITS:
        if np.ptp(means) <= 10.0**-TIE_DIGITS:
            return Test("one-way ANOVA", 0.0, 1.0, n, "all values are equal")
        return Test("one-way ANOVA", np.inf, 0.0, n, "no variation within groups")
    result = scipy.stats.f_oneway(*arrays)
    return Test("one-way ANOVA", float(result.statistic), float(result.pvalue), n)


def wilcoxon(first: ArrayLike, second: ArrayLike) -> Test:
    """Two-sided Wilcoxon signed-rank test of paired scores; pairs with a missing side are left out.

    Zero differences are dropped (Wilcoxon's own treatment), before scipy sees them: it would count them when it decides
    whether few enough pairs are left for an exact p-value. That is so without ties for at most 50 pairs, with ties for
    at most 13. All differences zero: p = 1. Fewer than six informative pairs cannot reach p < 0.05, and the note says
    so.
    """
    difference = paired_differences(first, second)
    informative = difference[difference != 0]
    if len(difference) == 0:
        return Test("Wilcoxon", np.nan, np.nan, 0, "no pairs")
    if len(informative) == 0:
        return Test("Wilcoxon", 0.0, 1.0, len(difference), "all differences are zero")
    result = scipy.stats.wilcoxon(informative, alternative="two-sided")
    return Test("Wilcoxon", float(result.statistic), float(result.pvalue), len(difference), _too_few(difference))


def paired_permutation(first: ArrayLike, second: ArrayLike, *, permutations: int = PERMUTATIONS, seed: int = 0) -> Test:
    """Two-sided permutation test of the mean paired difference: signs are flipped, pairs stay together.

    All 2^n sign patterns where that is at most `permutations`, otherwise that many random ones with the observed one
    counted in (so p is never 0). The statistic is the mean difference.
    """
    difference = paired_differences(first, second)
    n = len(difference)
    if n == 0:
        return Test("paired permutation", np.nan, np.nan, 0, "no pairs")
    observed = abs(difference.mean())
    reached = observed - 10.0**-TIE_DIGITS
    note = _too_few(difference)
    if 2**n <= permutations:
        signs = np.array(list(product((1.0, -1.0), repeat=n)))
        p = float(np.mean(np.abs(signs @ difference) / n >= reached))
        return Test("paired permutation", float(difference.mean()), p, n, note)
    generator = np.random.default_rng(seed)
    hits, left = 0, permutations
    while left:
        rows = min(left, max(1, _CHUNK // n))
        signs = generator.integers(0, 2, size=(rows, n), dtype=np.int8) * 2.0 - 1.0
        hits += int(np.count_nonzero(np.abs(signs @ difference) / n >= reached))
        left -= rows
    return Test("paired permutation", float(difference.mean()), (hits + 1) / (permutations + 1), n, note)


def repeated_measures(scores: ArrayLike) -> Test:
    """Do the methods differ at all? Repeated-measures ANOVA of scores [cases, methods] with a random effect per case.

    Complete data: F test with the Greenhouse-Geisser correction, since spreads differ between methods. Missing scores:
    a mixed linear model (random intercept per case, maximum likelihood) and a likelihood-ratio test, so that no case is
    thrown away for one missing score.
    """
    table = np.asarray(scores, dtype=float)
    table = table[np.isfinite(table).any(axis=1)]
    cases, methods = table.shape
    if cases < 2 or methods < 2:
        return Test("repeated-measures ANOVA", np.nan, np.nan, cases, "needs two cases and two methods")
    if np.isfinite(table).all():
        return _greenhouse_geisser(table)
    return _mixed_model(table)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down adjustment of a family of p-values; NaN entries stay NaN and do not count as tests.

    As `multipletests` of statsmodels, which collects garbage at every call, 0.1 s with all scores in memory.
    """
    values = np.asarray(p_values, dtype=float)
    adjusted = np.full(values.shape, np.nan)
    known = np.isfinite(values)
    order = np.argsort(values[known], kind="stable")
    steps = np.maximum.accumulate(values[known][order] * np.arange(len(order), 0, -1))
    found = np.empty(len(order))
    found[order] = np.minimum(steps, 1.0)
    adjusted[known] = found
    return adjusted


def paired_differences(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """`first - second` where both are present. Raises ValueError if the lengths differ."""
    left, right = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(f"paired scores need equal lengths, found {left.shape} and {right.shape}")
    difference = left - right
    return np.round(difference[np.isfinite(difference)], TIE_DIGITS)


def _too_few(difference: NDArray[np.float64]) -> str:
    """A note where not even equal signs of all differences would be significant: 2 / 2^5 is above 0.05."""
    return "fewer than six differing pairs cannot reach p < 0.05" if np.count_nonzero(difference) < 6 else ""


def _present(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=float).ravel()
    return array[np.isfinite(array)]


def _greenhouse_geisser(table: NDArray[np.float64]) -> Test:
    """Greenhouse and Geisser (1959): both degrees of freedom shrink by epsilon of the methods' covariance."""
    cases, methods = table.shape
    effect = table.mean(axis=0) - table.mean()
    residual = table - table.mean(axis=1, keepdims=True) - effect
    between, error = cases * (effect**2).sum(), (residual**2).sum()
    if error <= 10.0**-TIE_DIGITS:
        same = between <= 10.0**-TIE_DIGITS
        note = "all methods score alike" if same else "every case shows the same differences"
        return Test("repeated-measures ANOVA", 0.0 if same else np.inf, 1.0 if same else 0.0, cases, note)
    statistic = between / (error / (cases - 1))
    covariance = np.cov(residual, rowvar=False)
    epsilon = np.trace(covariance) ** 2 / ((methods - 1) * (covariance**2).sum())
    p = scipy.stats.f.sf(statistic, epsilon * (methods - 1), epsilon * (methods - 1) * (cases - 1))
    return Test("repeated-measures ANOVA", float(statistic), float(p), cases, f"Greenhouse-Geisser {epsilon:.3f}")


def _mixed_model(table: NDArray[np.float64]) -> Test:
    from statsmodels.regression.mixed_linear_model import MixedLM

    name = "mixed model, likelihood ratio"
    case, method = np.nonzero(np.isfinite(table))
    score = table[case, method]
    present = np.unique(method)
    if len(present) < 2 or np.ptp(score) <= 10.0**-TIE_DIGITS:
        return Test(name, np.nan, np.nan, len(table), "no variation, or a single method has scores")
    indicators = (method[:, None] == present[None, 1:]).astype(float)
    design = np.column_stack([np.ones(len(score)), indicators])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a variance at its bound of 0 is a legitimate estimate here
        try:
            full = MixedLM(score, design, groups=case).fit(reml=False)
            null = MixedLM(score, design[:, :1], groups=case).fit(reml=False)
            statistic = max(0.0, 2 * (full.llf - null.llf))
        except np.linalg.LinAlgError:
            statistic = np.nan
    if not np.isfinite(statistic):
        return Test(name, np.nan, np.nan, len(table), "the model is singular for these scores")
    return Test(name, float(statistic), float(scipy.stats.chi2.sf(statistic, len(present) - 1)), len(table))
