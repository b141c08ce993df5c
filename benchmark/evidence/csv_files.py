"""The csv files of a rebuilt table: its values, and every claim beside the rebuilt value with its verdict."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from benchmark.errors import InputError
from benchmark.evidence.cells import JudgedCell, format_number
from benchmark.evidence.rebuilt import Table
from benchmark.files import csv_text

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


def _number(value: float | None, decimals: int) -> str:
    if value is None or math.isnan(value):
        return ""
    return format_number(value, decimals)
