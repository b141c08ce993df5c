"""Folds of a cross-validation in a table: each fold's own values, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from benchmark.catalog.targets import Target
from benchmark.evidence.averages import measure_average
from benchmark.evidence.cells import JudgedCell, build_cell, format_number
from benchmark.evidence.measured import CellSource, Evidence
from benchmark.evidence.scores import RunScores

MEASURES = ("score", "average")


@dataclass(frozen=True)
class FoldRow:
    """The values of one row on each fold.

    Attributes:
        row: its label.
        cells: fold → column → cell, of the columns that are scored.
    """

    row: str
    cells: Mapping[int, Mapping[str, JudgedCell]]

    @property
    def columns(self) -> tuple[str, ...]:
        """Those with a cell."""
        return tuple(next(iter(self.cells.values())))

    def values(self, column: str) -> np.ndarray:
        """In the order of the folds; NaN of a fold that is not scored."""
        rebuilt = [cells[column].measured.rebuilt for cells in self.cells.values()]
        return np.array([np.nan if one is None else one.value for one in rebuilt])

    def deviation(self, column: str) -> str:
        """Standard deviation over the folds (n - 1), with the decimals of the cells; empty for fewer than two."""
        values = self.values(column)
        values = values[np.isfinite(values)]
        if len(values) < 2:
            return ""
        texts = (cells[column].text for cells in self.cells.values())
        decimals = max(len(text.partition(".")[2]) for text in texts if text[:1].isdigit() or text[:1] == "-")
        return format_number(float(values.std(ddof=1)), decimals)

    def lines(self, columns: Mapping[str, object]) -> list[list[str]]:
        """A line per fold and one of the deviation, each with its label first; other columns are empty."""
        found = [
            [f"{self.row}: fold {fold}", *(cells[name].text if name in cells else "" for name in columns)]
            for fold, cells in self.cells.items()
        ]
        scored = next(iter(self.cells.values()))
        deviations = [self.deviation(name) if name in scored else "" for name in columns]
        return [*found, [f"{self.row}: sd over folds", *deviations]]


def fold_rows(target: Target, sources: Mapping[tuple[str, str], CellSource], evidence: Evidence) -> tuple[FoldRow, ...]:
    """Every row that is cross-validated, in the table's order."""
    rows = []
    for row in target.rows:
        scored = [name for name, column in target.columns.items() if column.measure in MEASURES]
        folds = dict.fromkeys(fold for name in scored for fold in sources[row, name].folds)
        cells = {fold: _cells_of(target, row, sources, evidence, fold) for fold in folds}
        if cells:
            rows.append(FoldRow(row, cells))
    return tuple(rows)


def _cells_of(
    target: Target, row: str, sources: Mapping[tuple[str, str], CellSource], evidence: Evidence, fold: int
) -> dict[str, JudgedCell]:
    """Column → cell of a row on one fold; averages after the columns that they are of."""
    cells: dict[str, JudgedCell] = {}
    for name, column in target.columns.items():
        part = sources[row, name].by_fold.get(fold)
        if column.measure == "score" and part is not None:
            cells[name] = build_cell(row, name, column, None, part, evidence)
    for name, column in target.columns.items():
        if column.measure == "average" and set(column.of) <= set(cells):
            measured = measure_average([cells[part] for part in column.of])
            cells[name] = build_cell(row, name, column, None, sources[row, name], evidence, measured)
    return cells


def control_source(source: CellSource, by_protocol: Mapping[str, RunScores]) -> tuple[CellSource, dict[str, RunScores]]:
    """What a control's cell rests on, and its scores by run: those of the source's protocol, or of its folds'."""
    folds = source.by_fold or {0: source}
    scores = {
        f"{part.protocol}/{found.run}": replace(found, run=f"{part.protocol}/{found.run}", _matrices={})
        for part in folds.values()
        if (found := by_protocol.get(part.protocol))
    }
    names = {
        fold: tuple(name for name in scores if name.startswith(f"{part.protocol}/")) for fold, part in folds.items()
    }
    return replace(source, runs=tuple(scores), folds=names if source.folds else {}), scores
