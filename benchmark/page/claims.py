"""All published numbers and sentences as one table: sortable, filterable, its filtered lines to download as csv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from benchmark.audit.coverage import Coverage
from benchmark.catalog.published import parse_published
from benchmark.catalog.targets import UNREADABLE
from benchmark.page.material import Material
from benchmark.page.section import Section
from benchmark.page.templates import render
from benchmark.page.verdicts import KINDS, kind_of


@dataclass(frozen=True)
class Claimed:
    """One published number or sentence, as text throughout; its fields are the columns of the downloaded csv.

    Attributes:
        paper, target: as readers know them ("Swin SMT", "Table 1"); `identifier` is the target's name in the files.
        row, column: of a cell; the sentence and what kind of statement it makes.
        verdict, reason: kind of verdict, and what stands in its brackets.
        contradicted: where the paper itself says otherwise.
    """

    paper: str
    short: str
    target: str
    identifier: str
    row: str
    column: str
    kind: str
    printed: str
    rebuilt: str
    delta: str
    verdict: str
    reason: str
    contradicted: str
    state: str
    needs: str


def claimed(material: Material) -> list[Claimed]:
    """Every line of coverage.csv with its line of compare.csv, in that order."""
    return [_claimed(material, line) for line in material.coverage]


def _claimed(material: Material, line: Coverage) -> Claimed:
    table, cell = material.tables.get(line.target), (line.row, line.column)
    compared = table.compared.get(cell, {}) if table else {}
    kind, reason = kind_of(line, compared.get("verdict", ""))
    sentence = line.kind == "statement"
    return Claimed(
        paper=line.paper,
        short=material.short_title(line.paper),
        target="text" if sentence else material.catalog.target(line.target).number,
        identifier=line.target,
        row=material.statements[line.paper, line.row].text if sentence else line.row,
        column=line.column.replace("_", " ") if sentence else line.column,
        kind=line.kind,
        printed="" if line.printed == UNREADABLE or (sentence and len(line.printed) > 40) else line.printed,
        rebuilt=compared.get("rebuilt", ""),
        delta=compared.get("delta", ""),
        verdict=kind.name,
        reason=reason,
        contradicted=table.contradicted.get(cell, "") if table else "",
        state=line.state,
        needs=line.needs,
    )


def claims_section(claims: Sequence[Claimed]) -> Section:
    """The table is drawn by the component from the data; without scripts the parts before it have the cells."""
    choices = {
        "paper": list(dict.fromkeys(claim.short for claim in claims)),
        "target": list(dict.fromkeys(claim.target for claim in claims)),
        "kind": list(dict.fromkeys(claim.kind for claim in claims)),
        "verdict": [name for name in KINDS if any(claim.verdict == name for claim in claims)],
    }
    data = {
        "columns": [field.name for field in fields(Claimed)],
        "rows": [{**asdict(claim), "number": _number(claim.printed)} for claim in claims],
        "marks": {name: kind.mark for name, kind in KINDS.items()},
    }
    return Section(
        "claims", "All claims", render("claims.html", choices=choices, number=len(claims)), data, "claims.js"
    )


def _number(printed: str) -> float | None:
    """What a printed cell is sorted by."""
    value = parse_published(printed).value
    return None if value is None else float(value)
