"""Every two rows of a table on the same cases: their differences, worked out when the page is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.catalog.catalog import Catalog
from benchmark.catalog.targets import Target
from benchmark.evidence.comparisons import scores_by_row
from benchmark.evidence.measured import CellSource, Evidence
from benchmark.evidence.scores import RunScores
from benchmark.evidence.significance import Pair, align, compare_pairs
from benchmark.page.numbers import number, rounded
from benchmark.settings import Scale

# What a pair is, value by value: short in the page, which has thousands.
PAIR = (
    "first", "second", "n", "difference", "lower", "upper", "wilcoxon", "wilcoxon_holm", "permutation",
    "permutation_holm", "cohen_dz", "rank_biserial", "higher", "note",
)  # fmt: skip


def pairs_of(
    catalog: Catalog,
    scale: Scale,
    target: Target,
    sources: Mapping[tuple[str, str], CellSource],
    scores: Mapping[str, RunScores],
) -> list[dict[str, Any]]:
    """One entry for every score column of a table under which two rows have scores.

    Each has the column's name, unit and direction, `cases`, `rows` (row → score per case, in the printed unit), and
    `pairs` (values in the order of `PAIR`) as `benchmark.evidence.significance` compares them, p adjusted for all pairs
    of the column.
    """
    evidence, found = Evidence(scale=scale, scores=scores), []
    for name in compared_columns(target):
        per_case = scores_by_row(target, sources, target.rows, name, evidence)
        if len(per_case) > 1:
            column, cases = target.columns[name], sorted(set().union(*per_case.values()))
            found.append(
                {
                    "target": target.target,
                    "table": f"{catalog.papers[target.paper].paper.title.split(':')[0]}, {target.number}",
                    "column": name,
                    "unit": column.unit,
                    "better": column.better,
                    "cases": cases,
                    "rows": {row: [number(value) for value in values]
                             for row, values in zip(per_case, align(per_case).T, strict=True)},
                    "pairs": [_shown(pair) for pair in compare_pairs(per_case)],
                }
            )  # fmt: skip
    return found


def compared_columns(target: Target) -> list[str]:
    """Score columns over all structures; where a table has none, those of groups of structures."""
    scored = {name: column for name, column in target.columns.items() if column.measure == "score"}
    scored = {name: column for name, column in scored.items() if column.statistic == "mean"}
    return [name for name, column in scored.items() if column.group is None] or list(scored)


def _shown(pair: Pair) -> list[Any]:
    effect = pair.effect
    return [
        pair.first,
        pair.second,
        effect.n,
        *map(number, (effect.difference.value, effect.difference.lower, effect.difference.upper)),
        *map(rounded, (pair.wilcoxon.p, pair.wilcoxon_holm, pair.permutation.p, pair.permutation_holm)),
        *map(rounded, (effect.cohen_dz, effect.rank_biserial, effect.better)),
        pair.wilcoxon.note or pair.permutation.note,
    ]
