"""The part of a table's page about significance: each row against another, and all rows together."""

from __future__ import annotations

import math
from collections.abc import Iterable

from benchmark.catalog.targets import Target
from benchmark.evidence.significance import Comparison, SignificanceReport
from benchmark.evidence.statistics import Test
from benchmark.markdown import aligned

TESTS = {"anova": "one-way ANOVA", "wilcoxon": "Wilcoxon test", "ttest": "paired t test"}
UNITS_OF = {
    "cases": "per case (mean over its structures)",
    "classes": "per structure (mean over the cases)",
    "both": "per structure of each case, as if these were independent, which they are not",
}
NOTE = (
    "Scores of one case are paired, so the paired tests are the ones to read. Holm adjusts for the number of rows. "
    "Differences are reference minus row; d_z is their mean over their standard deviation. `rank` and `best` come from "
    "10,000 resamples."
)


def significance_text(reports: Iterable[SignificanceReport], target: Target) -> Iterable[str]:
    """Paragraphs and tables, in markdown."""
    for number, report in enumerate(reports):
        yield f"### {report.column}, against {report.against}"
        yield " ".join([_introduction(report), *([NOTE] if number == 0 else [])])
        yield _comparisons(report, target.columns[report.column].unit)
        yield _together(report)
        tests = [test for item in report.comparisons for test in _tests(item)]
        if notes := {f"{test.name}: {test.note}" for test in tests if test.note}:
            yield "\n".join(f"- {note}" for note in sorted(notes))


def _introduction(report: SignificanceReport) -> str:
    scores = f"Scores {UNITS_OF[report.unit]}."
    if report.test is None:
        return f"{scores} The paper has no test of these rows."
    where = f" ({report.source})" if report.source else ""
    return (
        f"{scores} The paper's star{where} is its {TESTS[report.test]} at p < {report.threshold}; `agrees` says that "
        "the recomputed p is on the same side."
    )


def _comparisons(report: SignificanceReport, unit: str) -> str:
    published = ["published", f"{TESTS[report.test]} p", "star"] if report.test else []
    header = ["row", *published, "Wilcoxon p", "Holm", "permutation p", "Holm"]
    header += [f"difference{f' ({unit})' if unit else ''}", "95 % interval", "d_z", "rank (95 %)", "best"]
    order = {row: index for index, row in enumerate(report.rows)}
    rows = [header, *(_comparison(item, report, order[item.row], 2 if unit else 4) for item in report.comparisons)]
    last = order[report.against]
    blank = [""] * (len(header) - 3)
    rows.append([f"{report.against} (reference)", *blank, _rank(report, last), f"{report.ranks.first[last]:.2f}"])
    return aligned(rows)


def _comparison(item: Comparison, report: SignificanceReport, index: int, decimals: int) -> list[str]:
    effect = item.effect.difference
    published = ["*" if item.published_star else "", _p(item.as_published), item.star] if item.as_published else []
    return [
        item.row,
        *published,
        _p(item.wilcoxon),
        _probability(item.wilcoxon_holm),
        _p(item.permutation),
        _probability(item.permutation_holm),
        _plain(effect.value, decimals),
        f"{_plain(effect.lower, decimals)} to {_plain(effect.upper, decimals)}",
        _plain(item.effect.cohen_dz, 2),
        _rank(report, index),
        f"{report.ranks.first[index]:.2f}",
    ]


def _together(report: SignificanceReport) -> str:
    tests = "; ".join(
        f"{test.name}, statistic {_plain(test.statistic, 2)}, p {_p(test)}{f' ({test.note})' if test.note else ''}"
        for test in (report.anova, report.omnibus)
    )
    return (
        f"All {len(report.rows)} rows together: {tests}. "
        f"Mean Kendall tau of the resampled rankings with this one: {_plain(report.ranks.kendall, 2)}."
    )


def _tests(item: Comparison) -> tuple[Test, ...]:
    paired = (item.wilcoxon, item.permutation)
    return (item.as_published, *paired) if item.as_published else paired


def _rank(report: SignificanceReport, index: int) -> str:
    ranks = report.ranks
    return f"{ranks.ranks[index]:g} ({ranks.lower[index]:g} to {ranks.upper[index]:g})"


def _p(test: Test) -> str:
    return _probability(test.p)


def _probability(p: float) -> str:
    return "<0.0001" if p < 0.0001 else _plain(p, 4)


def _plain(value: float, decimals: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{decimals}f}"
