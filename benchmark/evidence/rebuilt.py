"""A rebuilt table: the paper's rows and columns, each cell judged, with controls, failures and significance."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmark.catalog.published import UNITS
from benchmark.catalog.targets import Column, Target
from benchmark.errors import InputError
from benchmark.evidence.averages import measure_average
from benchmark.evidence.cells import (
    CellSource,
    Evidence,
    JudgedCell,
    build_cell,
    case_scores,
    format_number,
    matrices_of,
)
from benchmark.evidence.scores import RunScores
from benchmark.evidence.significance import SignificanceReport, compare_rows
from benchmark.files import csv_text
from benchmark.scoring.aggregate import Rates
from benchmark.scoring.conventions import get_convention

Controls = Mapping[str, Mapping[str, RunScores]]
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
    "config_digest",
    "code_version",
    "convention",
    "also",
)


@dataclass(frozen=True)
class FailureRates:
    """How often a row's predictions failed, one entry per seed, and how many cases were scored."""

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
        also: (row, column) → the value by the conventions beside the cell's own, with their names.
    """

    target: Target
    scale: str
    cells: dict[tuple[str, str], JudgedCell]
    controls: dict[tuple[str, str], JudgedCell]
    canonical: dict[tuple[str, str], JudgedCell]
    failures: tuple[FailureRates, ...]
    significance: SignificanceReport | None
    also: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def control_rows(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row for row, _ in self.controls))

    @property
    def claimed_cells(self) -> list[JudgedCell]:
        """One cell per claim, in the order of the published file."""
        return [self.cells[claim.row, claim.column] for claim in self.target.published]


def build_table(
    target: Target,
    sources: Mapping[tuple[str, str], CellSource],
    evidence: Evidence,
    *,
    controls: Controls | None = None,
) -> Table:
    """Rebuild and judge every cell of `target`.

    Args:
        sources: (row, column) → what the cell rests on.
        evidence: the files read. Whatever is missing becomes a cell with a reason; the table is built all the same.
        controls: label of a control predictor → protocol (`<paper>/<name>`) → its scores.
    """
    cells = _cells(target, sources, evidence)
    return Table(
        target=target,
        scale=evidence.scale,
        cells=cells,
        controls=_control_cells(target, sources, evidence, controls or {}),
        canonical=_canonical_cells(target, sources, evidence),
        failures=tuple(_failures(target, sources, evidence)),
        significance=_significance(target, sources, evidence),
        also=_beside(target, sources, evidence),
    )


def _cells(
    target: Target, sources: Mapping[tuple[str, str], CellSource], evidence: Evidence
) -> dict[tuple[str, str], JudgedCell]:
    """Every cell, in the table's order; columns that average others are computed after those."""
    cells: dict[tuple[str, str], JudgedCell] = {}
    for row in target.rows:
        for name, column in sorted(target.columns.items(), key=lambda item: item[1].measure == "average"):
            parts = [cells[row, part] for part in column.of] if column.measure == "average" else []
            measured = measure_average(parts) if parts else None
            claim = target.claim(row, name)
            cells[row, name] = build_cell(row, name, column, claim, sources[row, name], evidence, measured)
    return {(row, name): cells[row, name] for row in target.rows for name in target.columns}


def table_csv(table: Table) -> str:
    """The paper's rows and columns with rebuilt values; a cell without one says why."""
    columns = list(table.target.columns)
    rows = [[row, *(table.cells[row, name].text for name in columns)] for row in table.target.rows]
    rows += [
        [row, *(table.controls[row, name].text if (row, name) in table.controls else "" for name in columns)]
        for row in table.control_rows
    ]
    return csv_text([["row", *columns], *rows])


def compare_csv(table: Table) -> str:
    """One line per claim: published, rebuilt, spread, n, delta, band, verdict, the ledger's reading and provenance."""
    return csv_text([list(COMPARE_COLUMNS), *(_compare_line(cell, table) for cell in table.claimed_cells)])


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
        str(cell.verdict),
        cell.source.reading,
        " ".join(cell.source.runs),
        " ".join(cell.digests),
        " ".join(cell.versions),
        cell.source.convention if scored else "",
        table.also.get((cell.row, cell.column), ""),
    ]


def _control_cells(
    target: Target, sources: Mapping[tuple[str, str], CellSource], evidence: Evidence, controls: Controls
) -> dict[tuple[str, str], JudgedCell]:
    """Control predictors under every score column, scored exactly as the table's own rows are."""
    cells = {}
    for label, by_protocol in controls.items():
        for name, column in target.columns.items():
            source = _first_source(target, sources, name, by_protocol)
            scores = by_protocol.get(source.protocol) if source else None
            if column.measure == "score" and source and scores:
                shown = replace(evidence, scores={scores.run: scores})
                own = replace(source, runs=(scores.run,))
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
    """Score cells under our own convention, in which failure never helps; only those that were scored under it."""
    canonical = get_convention("canonical")
    cells = {}
    for (row, name), source in sources.items():
        if target.columns[name].measure == "score" and source.runs:
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
    for row in target.rows if name else ():
        source, metric = sources[row, name], str(target.columns[name].metric)
        matrices = matrices_of(replace(source, classes=None), metric, evidence)
        if matrices:
            runs = [evidence.scores[run] for run in source.runs if run in evidence.scores]
            rates = tuple(scores.rates(metric, source.convention) for scores in runs)
            yield FailureRates(row, max(len(matrix.cases) for matrix in matrices), rates)


def _significance(
    target: Target, sources: Mapping[tuple[str, str], CellSource], evidence: Evidence
) -> SignificanceReport | None:
    spec = target.significance
    if spec is None:
        return None
    column: Column = target.columns[spec.column]
    per_case = {}
    for row in target.rows:
        matrices = matrices_of(sources[row, spec.column], str(column.metric), evidence)
        if matrices:
            scores = case_scores(matrices)
            per_case[row] = {case: value / UNITS[column.unit] for case, value in scores.items()}
    return compare_rows(
        per_case,
        against=spec.against,
        test=spec.test,
        threshold=spec.threshold,
        starred=[claim.row for claim in target.published if claim.stars],
        higher_is_better=column.better != "lower",
    )


def _number(value: float | None, decimals: int) -> str:
    if value is None or math.isnan(value):
        return ""
    return format_number(value, decimals)
