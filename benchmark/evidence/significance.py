"""Significance of a table's rows: the published test, recomputed, and beside it tests for paired scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from benchmark.catalog.targets import Unit
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
class Pair:
    """Two rows of a table on the cases that both have, tested and measured as in `Comparison`.

    Attributes:
        wilcoxon, permutation: paired tests; `*_holm` are adjusted for all pairs of the table.
        effect: the first row minus the second, in the printed unit.
    """

    first: str
    second: str
    wilcoxon: Test
    wilcoxon_holm: float
    permutation: Test
    permutation_holm: float
    effect: Effect


@dataclass(frozen=True)
class Comparison(Pair):
    """The row that a table compares all others with, and one of these.

    Attributes:
        published_star: whether the paper marks the row, or says in its text that it differs.
        as_published: the paper's own test, recomputed; None where it has none.
        star: whether that agrees with the paper: `agrees`, `disagrees`, `not comparable (…)` or `not attempted (…)`;
            empty where the paper has no test.
    """

    published_star: bool
    as_published: Test | None
    star: str

    @property
    def row(self) -> str:
        """The one of these."""
        return self.second


@dataclass(frozen=True)
class SignificanceReport:
    """All comparisons of a table.

    Attributes:
        against: the reference row.
        threshold: the published threshold of p.
        test: the published test, a key of `PUBLISHED_TESTS`; None where the paper has none.
        anova: plain one-way analysis of variance over all scored rows, as if each had cases of its own.
        omnibus: repeated-measures test over all scored rows.
        column, source, unit: what is compared; where the paper does so; of what (cases, classes, both).
        rows, ranks: scored rows and the stability of their ranks under resampling of cases.
    """

    against: str
    threshold: float
    test: str | None
    comparisons: tuple[Comparison, ...]
    anova: Test
    omnibus: Test
    rows: tuple[str, ...]
    ranks: RankStability
    column: str = ""
    source: str = ""
    unit: Unit = "cases"


def paired_t(first: ArrayLike, second: ArrayLike) -> Test:
    """Two-sided paired t test; a constant non-zero difference gives p = 0, no difference at all p = 1."""
    difference = paired_differences(first, second)
    n = len(difference)
    if n < 2:
        return Test("paired t", np.nan, np.nan, n, "fewer than two pairs")
    if np.ptp(difference) == 0:
        same = difference[0] == 0
        return Test("paired t", 0.0 if same else np.inf, 1.0 if same else 0.0, n, "constant difference")
    result = scipy.stats.ttest_1samp(difference, 0.0)
    return Test("paired t", float(result.statistic), float(result.pvalue), n)


PUBLISHED_TESTS: dict[str, Callable[[ArrayLike, ArrayLike], Test]] = {
    "anova": one_way_anova,
    "wilcoxon": wilcoxon,
    "ttest": paired_t,
}


def star_verdict(published: bool, test: Test, threshold: float, not_comparable: str = "") -> str:
    """Whether a recomputed p says of a row what the paper's star, or its absence, says."""
    if math.isnan(test.p):
        return f"not attempted ({test.note})"
    if not_comparable:
        return f"not comparable ({not_comparable})"
    return "agrees" if (test.p < threshold) == published else "disagrees"


def compare_rows(
    per_case: Mapping[str, Mapping[str, float]],
    *,
    against: str,
    test: str | None,
    threshold: float,
    starred: Sequence[str],
    higher_is_better: bool = True,
    not_comparable: Mapping[str, str] | None = None,
    column: str = "",
    source: str = "",
    unit: Unit = "cases",
) -> SignificanceReport | None:
    """Recompute a table's significance marks.

    Args:
        per_case: row → case → score in the printed unit; a case that a row lacks is a missing pair, not a dropped case.
            Classes, or classes of cases, may stand in place of cases (`unit`).
        against: the row all others are compared with.
        test: the published test, a key of `PUBLISHED_TESTS`; None where the paper has none.
        starred: rows that the paper says differ.
        not_comparable: row → why its star cannot be held against these scores.
        column, source, unit: passed on to the report.

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
    pairs = _tested([(against, row) for row in others], [(reference, values) for values in columns])
    comparisons = []
    for pair, values in zip(pairs, columns, strict=True):
        published, star = PUBLISHED_TESTS[test](reference, values) if test else None, pair.second in starred
        reason = (not_comparable or {}).get(pair.second, "")
        agrees = star_verdict(star, published, threshold, reason) if published else ""
        comparisons.append(Comparison(**vars(pair), published_star=star, as_published=published, star=agrees))
    return SignificanceReport(
        against=against,
        threshold=threshold,
        test=test,
        comparisons=tuple(comparisons),
        anova=one_way_anova(*table.T),
        omnibus=repeated_measures(table),
        rows=rows,
        ranks=rank_stability(table, higher_is_better=higher_is_better),
        column=column,
        source=source,
        unit=unit,
    )


def compare_pairs(per_case: Mapping[str, Mapping[str, float]]) -> list[Pair]:
    """Every two rows of a table, each pair once in the order of the rows; fewer than two rows give none.

    Args:
        per_case: as in `compare_rows`.
    """
    if len(per_case) < 2:
        return []
    table = align(per_case)
    scores = dict(zip(per_case, table.T, strict=True))
    names = list(combinations(per_case, 2))
    return _tested(names, [(scores[first], scores[second]) for first, second in names])


def _tested(
    names: Sequence[tuple[str, str]], scores: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]
) -> list[Pair]:
    """Pairs of rows, given by name and by scores [cases]; p is adjusted for all of them together."""
    signed = [wilcoxon(*pair) for pair in scores]
    permuted = [paired_permutation(*pair) for pair in scores]
    signed_holm, permuted_holm = holm([result.p for result in signed]), holm([result.p for result in permuted])
    return [
        Pair(
            *names[index],
            wilcoxon=signed[index],
            wilcoxon_holm=float(signed_holm[index]),
            permutation=permuted[index],
            permutation_holm=float(permuted_holm[index]),
            effect=paired_effect(*scores[index]),
        )
        for index in range(len(names))
    ]


def align(per_case: Mapping[str, Mapping[str, float]]) -> NDArray[np.float64]:
    """Scores [cases, rows] over the union of all cases, NaN where a row lacks one."""
    cases = sorted(set().union(*per_case.values()))
    return np.array([[scores.get(case, np.nan) for scores in per_case.values()] for case in cases])
