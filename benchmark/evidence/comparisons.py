"""Which rows of a table are compared, on which scores, and whether a published star agrees with the recomputed test."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from benchmark.catalog.published import UNITS
from benchmark.catalog.targets import Significance, Target, Unit
from benchmark.evidence.cells import JudgedCell
from benchmark.evidence.measured import CellSource, Evidence, case_scores, matrices_of
from benchmark.evidence.scores import ScoreMatrix
from benchmark.evidence.significance import SignificanceReport, compare_rows

Sources = Mapping[tuple[str, str], CellSource]
Cells = Mapping[tuple[str, str], JudgedCell]


def compared(target: Target, sources: Sources) -> tuple[Significance, ...]:
    """The comparisons of a table: its own, else of every scored column with the last row of each dataset in it.

    Of columns of one dataset that are groups of structures and their mean, only the mean is taken.
    """
    if target.significance:
        return target.significance
    found = []
    for name in _columns(target):
        blocks: dict[str, list[str]] = {}
        for row in target.rows:
            source = _sources_of(target, sources, row, name)
            if source:
                blocks.setdefault(source[0].dataset, []).append(row)
        found += [
            Significance(against=rows[-1], column=name, rows=tuple(rows)) for rows in blocks.values() if len(rows) > 1
        ]
    return tuple(found)


def _columns(target: Target) -> list[str]:
    """Scored columns; a mean of several columns of one dataset stands for its parts."""
    means = {name: column.of for name, column in target.columns.items() if _is_mean_of_groups(target, name)}
    covered = {part for parts in means.values() for part in parts}
    scored = [name for name, column in target.columns.items() if column.measure == "score" and name not in covered]
    return [*scored, *means]


def _is_mean_of_groups(target: Target, name: str) -> bool:
    """Whether a column is the mean of groups of structures of one dataset, by one metric."""
    parts = [target.columns[part] for part in target.columns[name].of]
    kinds = {(part.measure, part.metric, part.protocol, part.convention, part.better) for part in parts}
    return len(kinds) == 1 and all(part.measure == "score" and part.group for part in parts)


def _sources_of(target: Target, sources: Sources, row: str, column: str) -> list[CellSource]:
    """What a cell rests on, where it has runs: one source, or that of each column it is the mean of."""
    return [source for part in target.columns[column].of or (column,) if (source := sources[row, part]).runs]


def unit_scores(matrices: Sequence[ScoreMatrix], unit: Unit) -> dict[str, float]:
    """Scores by case (mean over classes), by class (mean over cases), or by both (each class of each case).

    All are means over the seeds that scored them; NaN where nothing was scored.
    """
    if unit == "cases":
        return case_scores(matrices)
    collected: dict[str, list[float]] = {}
    for matrix in matrices:
        for case, line in zip(matrix.cases, matrix.values.tolist(), strict=True):
            for name, value in zip(matrix.classes, line, strict=True):
                collected.setdefault(name if unit == "classes" else f"{case}/{name}", []).append(value)
    return {name: _mean(values) for name, values in collected.items()}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def row_scores(
    target: Target, sources: Sources, row: str, column: str, evidence: Evidence, unit: Unit
) -> dict[str, float]:
    """Scores of a row in the printed unit, by `unit`; empty where a part of the column has none."""
    parts = []
    for name in target.columns[column].of or (column,):
        source = sources[row, name]
        if unit != "cases":
            source = replace(source, case_decimals=None)  # a convention rounds means of cases, which are not taken here
        matrices = matrices_of(source, str(target.columns[name].metric), evidence)
        if not matrices:
            return {}
        parts.append(unit_scores(matrices, unit))
    size = UNITS[target.columns[column].unit]
    names = sorted({name for part in parts for name in part})
    return {name: _mean([part[name] for part in parts if name in part]) / size for name in names}


def scores_by_row(
    target: Target, sources: Sources, rows: Iterable[str], column: str, evidence: Evidence, unit: Unit = "cases"
) -> dict[str, dict[str, float]]:
    """Row → case (or what `unit` says) → score in the printed unit; rows without scores are left out."""
    found = {row: row_scores(target, sources, row, column, evidence, unit) for row in rows}
    return {row: scores for row, scores in found.items() if scores}


def significance_of(
    target: Target, sources: Sources, cells: Cells, evidence: Evidence, unit: Unit = "cases"
) -> tuple[SignificanceReport, ...]:
    """Every comparison of a table of which two rows have scores; a figure has none."""
    if target.kind != "table":
        return ()
    reports = []
    for spec in compared(target, sources):
        scores = scores_by_row(target, sources, spec.rows or target.rows, spec.column, evidence, unit)
        report = compare_rows(
            scores,
            against=spec.against,
            test=spec.test,
            threshold=spec.threshold,
            starred=claimed_rows(target, spec),
            higher_is_better=target.columns[spec.column].better != "lower",
            not_comparable={row: _not_comparable(row, spec, target, sources, cells, evidence) for row in scores},
            column=spec.column,
            source=spec.source,
            unit=unit,
        )
        reports += [report] if report else []
    return tuple(reports)


def claimed_rows(target: Target, spec: Significance) -> list[str]:
    """Rows that the paper says differ: by a star in the column, or in its text."""
    if spec.claimed is not None:
        return list(spec.claimed)
    return [claim.row for claim in target.published if claim.stars and claim.column == spec.column]


def _not_comparable(
    row: str, spec: Significance, target: Target, sources: Sources, cells: Cells, evidence: Evidence
) -> str:
    """Why the recomputed p of a row answers another question than the paper's, or an empty string."""
    for one in (row, spec.against):
        if cells[one, spec.column].measured.not_comparable:
            return cells[one, spec.column].measured.not_comparable
        for part in target.columns[spec.column].of or (spec.column,):
            source = sources[one, part]
            matrices = matrices_of(source, str(target.columns[part].metric), evidence)
            scored = {case for matrix in matrices for case in matrix.cases}
            if source.test_cases and scored != source.test_cases:
                known = len(scored & source.test_cases)
                return f"{known} of the {len(source.test_cases)} published test cases, and {len(scored) - known} others"
    return ""
