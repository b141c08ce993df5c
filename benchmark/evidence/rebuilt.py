"""A rebuilt table: the paper's rows and columns, each cell judged, with controls, failures and significance."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmark.catalog.targets import Target, Unit
from benchmark.errors import InputError
from benchmark.evidence.averages import measure_average
from benchmark.evidence.cells import (
    CellSource,
    Evidence,
    JudgedCell,
    build_cell,
    format_number,
    matrices_of,
)
from benchmark.evidence.comparisons import significance_of
from benchmark.evidence.folds import FoldRow, control_source, fold_rows
from benchmark.evidence.scores import RunScores
from benchmark.evidence.significance import SignificanceReport
from benchmark.files import csv_text
from benchmark.scoring.aggregate import Rates
from benchmark.scoring.conventions import CANONICAL, get_convention

Controls = Mapping[str, Mapping[str, RunScores]]
NOTHING_PUBLISHED = "nothing published"
COMPARE_COLUMNS = (
    "row",
    "column",
    "published",
    "rebuilt",
    "spread",
    "n",
    "seeds",
    "interval_lower",
    "interval_upper",
    "interval_over",
    "delta",
    "band",
    "band_source",
    "verdict",
    "reading",
    "runs",
    "origin",
    "config_digest",
    "code_version",
    "convention",
    "also",
    "star",
)


@dataclass(frozen=True)
class FailureRates:
    """How often a row's predictions failed, one entry per run, and how many cases were scored."""

    row: str
    cases: int
    rates: tuple[Rates, ...]


@dataclass(frozen=True)
class Table:
    """Everything that one table's three files are written from.

    Attributes:
        cells: the paper's rows and columns.
        controls: control predictors under the score columns.
        canonical: the score cells once more, under our own convention.
        significance: comparisons of rows of which two have scores.
        folds: of cross-validated rows, what each fold gives.
        also: (row, column) → the value by the conventions beside the cell's own, with their names.
    """

    target: Target
    scale: str
    cells: dict[tuple[str, str], JudgedCell]
    controls: dict[tuple[str, str], JudgedCell]
    canonical: dict[tuple[str, str], JudgedCell]
    failures: tuple[FailureRates, ...]
    significance: tuple[SignificanceReport, ...]
    also: dict[tuple[str, str], str] = field(default_factory=dict)
    folds: tuple[FoldRow, ...] = ()

    @property
    def control_rows(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row for row, _ in self.controls))

    def star(self, row: str, column: str) -> str:
        """What became of a row's printed star, or of its absence; empty where none could stand or nothing is scored."""
        for report, spec in ((report, spec) for report in self.significance for spec in self.target.significance):
            same = (report.column, report.against, report.test) == (spec.column, spec.against, spec.test)
            if same and spec.claimed is None and spec.column == column:
                return next((item.star for item in report.comparisons if item.row == row), "")
        return ""

    @property
    def claimed_cells(self) -> list[JudgedCell]:
        """One cell per claim, in the order of the published file."""
        return [self.cells[claim.row, claim.column] for claim in self.target.published]

    @property
    def own_cells(self) -> list[JudgedCell]:
        """Cells that rest on runs and have no claim (rows and columns of one's own), in the table's order."""
        claimed = {(claim.row, claim.column) for claim in self.target.published}
        return [cell for place, cell in self.cells.items() if place not in claimed and cell.source.runs]


def build_table(
    target: Target,
    sources: Mapping[tuple[str, str], CellSource],
    evidence: Evidence,
    *,
    controls: Controls | None = None,
    unit: Unit = "cases",
) -> Table:
    """Rebuild and judge every cell of `target`.

    Args:
        sources: (row, column) → what the cell rests on.
        evidence: the files read. Whatever is missing becomes a cell with a reason; the table is built all the same.
        controls: label of a control predictor → protocol (`<paper>/<name>`) → its scores.
        unit: of the tests of significance.
    """
    cells = build_cells(target, sources, evidence)
    return Table(
        target=target,
        scale=evidence.scale,
        cells=cells,
        controls=_control_cells(target, sources, evidence, controls or {}),
        canonical=_canonical_cells(target, sources, evidence),
        failures=tuple(_failures(target, sources, evidence)),
        significance=significance_of(target, sources, cells, evidence, unit),
        also=_beside(target, sources, evidence),
        folds=fold_rows(target, sources, evidence),
    )


def build_cells(
    target: Target, sources: Mapping[tuple[str, str], CellSource], evidence: Evidence
) -> dict[tuple[str, str], JudgedCell]:
    """Every cell, in the table's order; columns that average others are computed after those."""
    cells: dict[tuple[str, str], JudgedCell] = {}
    for row in target.rows:
        for name, column in sorted(target.columns.items(), key=lambda item: item[1].measure == "average"):
            parts = [cells[row, part] for part in column.of] if column.measure == "average" else []
            measured = measure_average(parts) if parts else None
            claim = target.claim(row, name)
            cell = build_cell(row, name, column, claim, sources[row, name], evidence, measured)
            origins = dict.fromkeys(origin for part in parts for origin in part.origins)
            cells[row, name] = replace(cell, origins=tuple(origins)) if parts else cell
    return {(row, name): cells[row, name] for row in target.rows for name in target.columns}


def table_csv(table: Table) -> str:
    """The paper's rows and columns with rebuilt values; a cell without one says why. Controls and folds come last."""
    columns = list(table.target.columns)
    rows = [[row, *(table.cells[row, name].text for name in columns)] for row in table.target.rows]
    rows += [
        [row, *(table.controls[row, name].text if (row, name) in table.controls else "" for name in columns)]
        for row in table.control_rows
    ]
    rows += [line for item in table.folds for line in item.lines(table.target.columns)]
    return csv_text([["row", *columns], *rows])


def compare_csv(table: Table) -> str:
    """Published, rebuilt, spread, n, delta, band, verdict, the ledger's reading, provenance: one line per claim, then
    one per cell that rests on runs and has no claim."""
    cells = [*table.claimed_cells, *table.own_cells]
    return csv_text([list(COMPARE_COLUMNS), *(_compare_line(cell, table) for cell in cells)])


def read_compare(path: Path, needed: Sequence[str]) -> dict[tuple[str, str], dict[str, str]]:
    """(row, column) → line of a compare.csv, which has the columns `needed`; empty where the table has not been built.

    Raises:
        InputError: the file is not one that `compare_csv` writes.
    """
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            lines, columns = list(reader), tuple(reader.fieldnames or ())
    except UnicodeDecodeError:
        lines, columns = [], ()
    wanted = ("row", "column", *needed)
    if not set(wanted) <= set(columns) or any(None in line or None in line.values() for line in lines):
        raise InputError(
            "a rebuilt table is damaged",
            where=path,
            expected=f"columns {', '.join(wanted)}",
            found=", ".join(columns) or "no csv file",
            remedy="delete it and build the table again",
        )
    return {(line["row"], line["column"]): line for line in lines}


def _compare_line(cell: JudgedCell, table: Table) -> list[str]:
    measured, rebuilt = cell.measured, cell.measured.rebuilt
    digits = (cell.published.decimals if cell.published.kind == "number" else 2) + 2
    interval = (rebuilt.lower, rebuilt.upper) if rebuilt and measured.interval_over else (math.nan, math.nan)
    scored = measured.cases is not None
    return [
        cell.row,
        cell.column,
        cell.published.text,
        measured.words or _number(rebuilt.value if rebuilt else None, digits),
        _number(measured.spread, digits),
        str(measured.cases) if scored else "",
        str(rebuilt.runs) if rebuilt and scored else "",
        *(_number(end, digits) for end in interval),
        measured.interval_over,
        _number(cell.verdict.delta, digits),
        _number(measured.band.half_width if measured.band else None, digits),
        measured.band.source if measured.band else "",
        _verdict_text(cell),
        cell.source.reading,
        " ".join(cell.source.runs),
        "; ".join(cell.origins),
        " ".join(cell.digests),
        " ".join(cell.versions),
        cell.source.convention if scored else "",
        table.also.get((cell.row, cell.column), ""),
        table.star(cell.row, cell.column),
    ]


def _verdict_text(cell: JudgedCell) -> str:
    """The verdict; of a value that nobody has published there is none, though it was attempted."""
    attempted = cell.measured.rebuilt is not None or cell.measured.words
    return NOTHING_PUBLISHED if attempted and not cell.published.text else str(cell.verdict)


def _control_cells(
    target: Target, sources: Mapping[tuple[str, str], CellSource], evidence: Evidence, controls: Controls
) -> dict[tuple[str, str], JudgedCell]:
    """Control predictors under every score column, scored exactly as the table's own rows are."""
    cells = {}
    for label, by_protocol in controls.items():
        for name, column in target.columns.items():
            source = _first_source(target, sources, name, by_protocol)
            if column.measure == "score" and source:
                own, scores = control_source(source, by_protocol)
                shown = replace(evidence, scores=scores)
                cells[label, name] = build_cell(label, name, column, None, own, shown)
    return cells


def _first_source(
    target: Target, sources: Mapping[tuple[str, str], CellSource], column: str, by_protocol: Mapping[str, RunScores]
) -> CellSource | None:
    """Of the first row whose protocol has the control; rows of one column may differ in their recipe."""
    rows = (sources[row, column] for row in target.rows)
    return next((source for source in rows if source.runs and source.protocol in by_protocol), None)


def _canonical_cells(
    target: Target, sources: Mapping[tuple[str, str], CellSource], evidence: Evidence
) -> dict[tuple[str, str], JudgedCell]:
    """Score cells under our own convention, in which failure never helps; only those that were scored under it beside
    another of their own."""
    canonical = get_convention(CANONICAL)
    cells = {}
    for (row, name), source in sources.items():
        if target.columns[name].measure == "score" and source.runs and source.convention != CANONICAL:
            own = replace(source, convention=canonical.name, order=canonical.averaging, case_decimals=None)
            cell = build_cell(row, name, target.columns[name], None, own, evidence)
            if cell.measured.rebuilt is not None:
                cells[row, name] = cell
    return cells


def _beside(
    target: Target, sources: Mapping[tuple[str, str], CellSource], evidence: Evidence
) -> dict[tuple[str, str], str]:
    """Score cells by the conventions beside their own, e.g. "esam_network: 8.12"; only what was scored by them."""
    found = {}
    for (row, name), source in sources.items():
        if target.columns[name].measure != "score" or not source.convention:
            continue
        texts = []
        for other in get_convention(source.convention).beside:
            own = replace(source, convention=other, order=get_convention(other).averaging)
            cell = build_cell(row, name, target.columns[name], None, own, evidence)
            texts += [f"{other}: {cell.text}"] if cell.measured.rebuilt is not None else []
        if texts:
            found[row, name] = "; ".join(texts)
    return found


def _failures(
    target: Target, sources: Mapping[tuple[str, str], CellSource], evidence: Evidence
) -> Iterable[FailureRates]:
    """Rates over all structures of the first scored column."""
    name = next((name for name, column in target.columns.items() if column.measure == "score"), None)
    if name is None:
        return
    for row in target.rows:
        source, metric = sources[row, name], str(target.columns[name].metric)
        matrices = matrices_of(replace(source, classes=None), metric, evidence)
        if matrices:
            runs = [evidence.scores[run] for run in source.runs if run in evidence.scores]
            rates = tuple(scores.rates(metric, source.convention) for scores in runs)
            yield FailureRates(row, len({case for matrix in matrices for case in matrix.cases}), rates)


def _number(value: float | None, decimals: int) -> str:
    if value is None or math.isnan(value):
        return ""
    return format_number(value, decimals)
