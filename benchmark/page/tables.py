"""The papers' tables with rebuilt values beside the published ones; a click on a cell opens what it rests on."""

from __future__ import annotations

from benchmark.catalog.targets import Column, Target
from benchmark.page.cells import cell_data
from benchmark.page.claims import Claimed
from benchmark.page.material import BuiltTable, Material
from benchmark.page.section import Section
from benchmark.page.start import stamp
from benchmark.page.templates import render
from benchmark.page.verdicts import KINDS

ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}


def tables_section(material: Material, claims: list[Claimed]) -> Section:
    """Every table of every paper; those that have not been built show what was published."""
    by_cell = {(claim.identifier, claim.row, claim.column): claim for claim in claims if claim.kind == "cell"}
    papers = [
        {
            "title": folder.paper.title,
            "short": material.short_title(paper),
            "tables": [
                _table(target, material.tables[name], by_cell)
                for name, target in folder.targets.items()
                if name in material.tables
            ],
        }
        for paper, folder in material.catalog.papers.items()
    ]
    html = render("tables.html", papers=papers, stamp=stamp(material), kinds=KINDS)
    return Section("tables", "Tables", html, cell_data(material, by_cell), "tables.js")


def _table(target: Target, table: BuiltTable, claims: dict[tuple[str, str, str], Claimed]) -> dict[str, object]:
    rows = [
        (row, spec.note, [_cell(target, table, row, name, claims) for name in target.columns])
        for row, spec in target.rows.items()
    ]
    return {
        "spec": target,
        "columns": [(name, ARROWS[column.better], _explained(column)) for name, column in target.columns.items()],
        "rows": rows,
        "controls": [(label, [texts[name] for name in target.columns]) for label, texts in table.controls.items()],
        "built": bool(table.compared),
    }


def _cell(
    target: Target, table: BuiltTable, row: str, name: str, claims: dict[tuple[str, str, str], Claimed]
) -> dict[str, object]:
    """`claim` is None where the paper printed nothing; `rebuilt` is empty where there is no value of ours."""
    claim = claims.get((target.target, row, name))
    published = target.claim(row, name)
    has_value = claim is None or bool(claim.rebuilt)
    return {
        "row": row,
        "column": name,
        "claim": claim,
        "kind": KINDS[claim.verdict] if claim else None,
        "published": f"{published.value} {published.stars}".strip() if published else "",
        "marking": published.marking if published else "",
        "rebuilt": table.shown.get((row, name), "") if has_value and table.compared else "",
    }


def _explained(column: Column) -> str:
    """What a column measures, as the heading's title."""
    parts = [column.measure.replace("_", " "), column.metric or "", f"in {column.unit}" if column.unit else ""]
    return ", ".join(part for part in parts if part) + {"neither": ""}.get(
        column.better, f"; {column.better} is better"
    )
