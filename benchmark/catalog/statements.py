"""Sentences that a paper derives from its tables, with the cells they rest on: paper_tables/<paper>/statements.csv.

A reference is `target > row > column`. Row and column may hold `*` and alternatives (`Organs|Ribs`); without a column a
reference means the columns of the first one. `= 1000` is a number that stands in the text and in no table.
"""

from __future__ import annotations

import difflib
import fnmatch
from functools import lru_cache
from typing import Literal, NamedTuple

from benchmark.catalog.catalog import Catalog
from benchmark.catalog.reading import read_csv, validate
from benchmark.catalog.targets import Claim, Column
from benchmark.errors import InputError
from benchmark.settings import Settings

COLUMNS = ["id", "text", "kind", "cells", "value"]
Kind = Literal[
    "quote",
    "difference",
    "ratio",
    "relative_gain",
    "mean_relative_gain",
    "share_of_mean",
    "sum",
    "same",
    "rank",
    "outperforms",
    "count",
    "range",
    "above",
    "below",
    "starred",
    "printed_only",
]
# How many references a kind takes: exactly so many, or at least so many.
EXACTLY: dict[Kind, int] = {"difference": 2, "ratio": 2, "relative_gain": 2, "same": 2, "below": 2, "above": 2}
AT_LEAST: dict[Kind, int] = {
    "quote": 1, "mean_relative_gain": 4, "share_of_mean": 2, "sum": 2, "rank": 2, "outperforms": 2, "count": 2,
    "range": 2, "starred": 2,
}  # fmt: skip


class Reference(NamedTuple):
    """Cells of one target by patterns, or a number of the text (`target` empty, `row` the number)."""

    target: str
    row: str
    column: str | None

    @property
    def is_number(self) -> bool:
        return not self.target


class PublishedCell(NamedTuple):
    """A published cell that a reference selects."""

    target: str
    claim: Claim
    column: Column

    def __str__(self) -> str:
        return f"{self.target} > {self.claim.row} > {self.claim.column}" if self.target else self.claim.value


class Statement(Settings):
    """One sentence-level claim.

    Attributes:
        text: the part of the sentence, verbatim.
        kind: how the value follows from the cells (docs/audit.md).
        cells: what it rests on; for comparisons the first reference is compared with all others.
        value: the printed value; for a rank `1` is best; for `above` and `below` the bound.
    """

    id: str
    paper: str
    text: str
    kind: Kind
    cells: tuple[Reference, ...] = ()
    value: str = ""


@lru_cache(maxsize=4)
def load_statements(catalog: Catalog) -> tuple[Statement, ...]:
    """The statements of all papers, in the order of their files.

    Raises:
        InputError: a line has an unknown kind, the wrong number of references, or a reference that selects no cell.
    """
    statements = []
    for name in catalog.papers:
        path = catalog.paper_folder(name) / "statements.csv"
        for number, line in enumerate(read_csv(path, COLUMNS) if path.is_file() else [], start=2):
            where = f"{path}:{number}"
            references = tuple(_reference(part, where) for part in line["cells"].split(" ; ") if part.strip())
            statement = validate(Statement, {**line, "paper": name, "cells": references}, where=where)
            _check(catalog, statement, where)
            statements.append(statement)
    ids = [(statement.paper, statement.id) for statement in statements]
    for twice in {identity for identity in ids if ids.count(identity) > 1}:
        raise InputError("the id of a statement stands twice", where=catalog.folder / twice[0], found=twice[1])
    return tuple(statements)


def select(catalog: Catalog, reference: Reference, columns: str | None = None) -> list[PublishedCell]:
    """The published cells of a reference, in the table's order; `columns` where it names none.

    Raises:
        InputError: the target does not exist, or nothing is published under these names.
    """
    if reference.is_number:
        return [PublishedCell("", Claim(row="text", column="", value=reference.row), Column(measure="text"))]
    target = catalog.target(reference.target)
    pattern = reference.column or columns or "*"
    found = [
        PublishedCell(target.target, claim, target.columns[claim.column])
        for claim in target.published
        if _matches(claim.row, reference.row) and _matches(claim.column, pattern)
    ]
    if not found:
        names = [*target.rows, *target.columns]
        close = difflib.get_close_matches(reference.row, names, n=2) + difflib.get_close_matches(pattern, names, n=2)
        raise InputError(
            f"no published cell of {target.target} is called {reference.row!r} > {pattern!r}",
            expected=" or ".join(dict.fromkeys(close)) or "a row and a column of the table",
        )
    return found


def _matches(name: str, pattern: str) -> bool:
    # names such as "[a]" or "(n = 4)" are meant literally; only * is special
    return any(name == part or fnmatch.fnmatchcase(name, part.replace("[", "[[]")) for part in pattern.split("|"))


def _reference(text: str, where: str) -> Reference:
    parts = [part.strip() for part in text.split(">")]
    if parts[0].startswith("="):
        return Reference("", text.strip()[1:].strip(), None)
    if len(parts) not in (2, 3) or not all(parts):
        raise InputError(
            "not a reference to cells", where=where, expected="target > row > column, parted by ' ; '", found=text
        )
    return Reference(parts[0], parts[1], parts[2] if len(parts) == 3 else None)


def _check(catalog: Catalog, statement: Statement, where: str) -> None:
    count, kind = len(statement.cells), statement.kind
    if count != EXACTLY.get(kind, count) or count < AT_LEAST.get(kind, 0):
        needed = EXACTLY.get(kind) or f"at least {AT_LEAST[kind]}"
        raise InputError(f"a statement of kind {kind!r} takes {needed} references", where=where, found=count)
    if kind == "mean_relative_gain" and count % 2:
        raise InputError("a mean_relative_gain takes pairs of references", where=where, found=count)
    try:
        for reference in statement.cells:
            select(catalog, reference, statement.cells[0].column)
    except InputError as error:
        raise InputError(error.problem, where=where, expected=error.expected) from None
