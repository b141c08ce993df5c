"""The significance stars of a table, recomputed: the published test, and beside it tests for paired scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from benchmark.evidence.resampling import Effect, RankStability, paired_effect, rank_stability
from benchmark.evidence.statistics import (
    Test,
    holm,
    one_way_anova,
    paired_differences,
    paired_permutation,
    repeated_measures,
    wilcoxon,
)


@dataclass(frozen=True)
class Comparison:
    """One row of a table against the row it is compared with.

    Attributes:
        published_star: whether the paper marks the row.
        as_published: the paper's own test, recomputed.
        wilcoxon, permutation: paired tests; `*_holm` are adjusted for all rows of the table.
        effect: the reference row minus this one, in the printed unit.
    """

    row: str
    published_star: bool
    as_published: Test
    wilcoxon: Test
    wilcoxon_holm: float
    permutation: Test
    permutation_holm: float
    effect: Effect


@dataclass(frozen=True)
class SignificanceReport:
    """All comparisons of a table.

    Attributes:
        against: the reference row.
        threshold: the published threshold of p.
        omnibus: repeated-measures test over all scored rows.
        rows, ranks: scored rows and the stability of their ranks under resampling of cases.
    """

    against: str
    threshold: float
    test: str
    comparisons: tuple[Comparison, ...]
    omnibus: Test
    rows: tuple[str, ...]
    ranks: RankStability


def paired_t(first: ArrayLike, second: ArrayLike) -> Test:
    """Two-sided paired t test; a constant non-zero difference gives p = 0, no difference at all p = 1."""
    difference = paired_differences(first, second)
    n = len(difference)
    if n < 2:
        return Test("paired t", np.nan, np.nan, n, "fewer than two pairs")
    if np.ptp(difference) == 0:
        same = difference[0] == 0
        return Test("paired t", 0.0 if same else np.inf, 1.0 if same else 0.0, n, "constant difference")
    result = stats.ttest_1samp(difference, 0.0)
    return Test("paired t", float(result.statistic), float(result.pvalue), n)


PUBLISHED_TESTS: dict[str, Callable[[ArrayLike, ArrayLike], Test]] = {
    "anova": one_way_anova,
    "wilcoxon": wilcoxon,
    "ttest": paired_t,
}


def compare_rows(
    per_case: Mapping[str, Mapping[str, float]],
    *,
    against: str,
    test: str,
    threshold: float,
    starred: Sequence[str],
    higher_is_better: bool = True,
) -> SignificanceReport | None:
    """Recompute a table's significance marks.

    Args:
        per_case: row → case → score in the printed unit; a case that a row lacks is a missing pair, not a dropped case.
        against: the row all others are compared with.
        test: the published test, a key of `PUBLISHED_TESTS`.
        starred: rows that carry a star in the paper.

    Returns:
        None if `against` or every other row has no scores.
    """
    if against not in per_case or len(per_case) < 2:
        return None
    table = align(per_case)
    rows = tuple(per_case)
    reference = table[:, rows.index(against)]
    others = [row for row in rows if row != against]
    columns = [table[:, rows.index(row)] for row in others]
    signed = [wilcoxon(reference, column) for column in columns]
    permuted = [paired_permutation(reference, column) for column in columns]
    signed_holm, permuted_holm = holm([result.p for result in signed]), holm([result.p for result in permuted])
    comparisons = tuple(
        Comparison(
            row=row,
            published_star=row in starred,
            as_published=PUBLISHED_TESTS[test](reference, columns[index]),
            wilcoxon=signed[index],
            wilcoxon_holm=float(signed_holm[index]),
            permutation=permuted[index],
            permutation_holm=float(permuted_holm[index]),
            effect=paired_effect(reference, columns[index]),
        )
        for index, row in enumerate(others)
    )
    ranks = rank_stability(table, higher_is_better=higher_is_better)
    return SignificanceReport(against, threshold, test, comparisons, repeated_measures(table), rows, ranks)


def align(per_case: Mapping[str, Mapping[str, float]]) -> NDArray[np.float64]:
    """Scores [cases, rows] over the union of all cases, NaN where a row lacks one."""
    cases = sorted(set().union(*per_case.values()))
    return np.array([[scores.get(case, np.nan) for scores in per_case.values()] for case in cases])
