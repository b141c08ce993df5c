"""What all parts of the page are written from: the catalog, the tables of a results folder, coverage and audit."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from benchmark.audit.audit import audit, counted
from benchmark.audit.coverage import Coverage, coverage
from benchmark.audit.findings import Contradiction, Finding
from benchmark.catalog.catalog import Catalog
from benchmark.catalog.statements import Statement, load_statements
from benchmark.catalog.targets import Target
from benchmark.errors import InputError
from benchmark.evidence.csv_files import COMPARE_COLUMNS, read_compare
from benchmark.evidence.table import read_contradictions
from benchmark.layout import Layout
from benchmark.settings import Scale

Cell = tuple[str, str]


@dataclass(frozen=True)
class BuiltTable:
    """A table as its files have it; all empty where it has not been built.

    Attributes:
        compared: (row, column) → line of compare.csv.
        shown: (row, column) → what the rebuilt table prints.
        controls: label of a control → column → what the rebuilt table prints.
        contradicted: (row, column) → where the paper says otherwise.
    """

    compared: Mapping[Cell, dict[str, str]] = field(default_factory=dict)
    shown: Mapping[Cell, str] = field(default_factory=dict)
    controls: Mapping[str, dict[str, str]] = field(default_factory=dict)
    contradicted: Mapping[Cell, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Material:
    """Everything that the parts of the page read.

    Attributes:
        layout: the results folder that the tables were read from.
        published: whether the page is made from the claims alone.
        linked: whether the page lies in that folder, so that links may lead to its files.
    """

    catalog: Catalog
    layout: Layout
    scale: Scale
    tables: Mapping[str, BuiltTable]
    coverage: tuple[Coverage, ...]
    findings: tuple[Finding, ...]
    published: bool = False
    linked: bool = True

    @cached_property
    def statements(self) -> dict[tuple[str, str], Statement]:
        """(paper, id) → sentence of a paper."""
        return {(statement.paper, statement.id): statement for statement in load_statements(self.catalog)}

    @cached_property
    def contradictions(self) -> tuple[Contradiction, ...]:
        """Published cells that the papers contradict, as the audit finds them today."""
        return tuple(contradiction for finding in self.findings for contradiction in finding.contradictions)

    def short_title(self, paper: str) -> str:
        """The name that the paper gives its network, in front of the colon of its title."""
        return self.catalog.papers[paper].paper.title.split(":")[0]

    def href(self, path: str | Path) -> str:
        """Address of a file or folder below the results folder, seen from the page; empty where it is not there."""
        if not self.linked:
            return ""
        found = Path(self.layout.root) / path
        return str(path) if found.is_file() or (found.is_dir() and any(found.iterdir())) else ""


def read_material(
    catalog: Catalog, layout: Layout, scale: Scale, *, published: bool = False, linked: bool = True
) -> Material:
    """Read a results folder and judge the papers by their own numbers.

    Raises:
        InputError: a file of a table is damaged.
    """
    tables = [target for target in catalog.targets.values() if target.kind == "table"]
    return Material(
        catalog=catalog,
        layout=layout,
        scale=scale,
        tables={target.target: read_table(catalog, layout, target) for target in tables},
        coverage=tuple(coverage(catalog, layout, scale)),
        findings=tuple(audit(catalog, counted(catalog, layout))),
        published=published,
        linked=linked,
    )


def read_table(catalog: Catalog, layout: Layout, target: Target) -> BuiltTable:
    """The files of one table.

    Raises:
        InputError: one of them is not what `python -m benchmark table` writes.
    """
    table, compare, _ = layout.table(target.target)
    contradicted = read_contradictions(catalog.paper_folder(target.paper) / "contradictions.csv", target)
    compared = read_compare(Path(compare), COMPARE_COLUMNS[2:])
    if not compared:
        return BuiltTable(contradicted=contradicted)
    rows = _rows(Path(table), target)
    return BuiltTable(
        compared=compared,
        shown={(row, name): text for row, texts in rows.items() if row in target.rows for name, text in texts.items()},
        controls={row: texts for row, texts in rows.items() if row not in target.rows},
        contradicted=contradicted,
    )


def _rows(path: Path, target: Target) -> dict[str, dict[str, str]]:
    remedy = f"python -m benchmark table {target.target}"
    if not path.is_file():
        raise InputError("one of the files of a table is missing", where=path, remedy=remedy)
    with path.open(encoding="utf-8", newline="") as stream:
        header, *lines = list(csv.reader(stream)) or [[]]
    wanted = ["row", *target.columns]
    if header != wanted or any(len(line) != len(header) for line in lines):
        raise InputError("a rebuilt table is damaged", where=path, expected=wanted, found=header, remedy=remedy)
    return {row: dict(zip(target.columns, texts, strict=True)) for row, *texts in lines}
