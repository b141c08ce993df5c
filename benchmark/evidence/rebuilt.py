"""A rebuilt table: the paper's rows and columns, each cell judged, with controls, failures and significance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from benchmark.catalog.targets import Target, Unit
from benchmark.evidence.averages import measure_average
from benchmark.evidence.cells import JudgedCell, build_cell
from benchmark.evidence.comparisons import significance_of
from benchmark.evidence.folds import FoldRow, control_source, fold_rows
from benchmark.evidence.measured import CellSource, Evidence, matrices_of
from benchmark.evidence.scores import RunScores
from benchmark.evidence.significance import SignificanceReport
from benchmark.scoring.aggregate import Rates
from benchmark.scoring.conventions import CANONICAL, get_convention

Controls = Mapping[str, Mapping[str, RunScores]]


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
