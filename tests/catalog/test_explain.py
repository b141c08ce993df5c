"""`explain` derives any published cell, and `list` shows the conventions that the protocols name."""

from __future__ import annotations

import pytest

from benchmark.catalog import load_catalog
from benchmark.catalog.explain import explain
from benchmark.catalog.listing import list_conventions
from benchmark.scoring.conventions import load_conventions

CATALOG = load_catalog()
# Of every table: each column once, walking down its rows, so that all kinds of cells come up.
SAMPLE = [
    (target.target, list(target.rows)[number % len(target.rows)], column)
    for target in CATALOG.targets.values()
    if target.published
    for number, column in enumerate(target.columns)
]


@pytest.mark.parametrize(("name", "row", "column"), SAMPLE)
@pytest.mark.parametrize("scale", ["paper", "demo"])
def test_any_cell_is_derived(name: str, row: str, column: str, scale: str) -> None:
    target = CATALOG.target(name)
    lines = list(explain(CATALOG, target, row, column, scale))
    text = "\n".join(lines)
    claim = target.claim(row, column)
    assert claim is not None and f"published   {claim.value}".rstrip() in text
    assert f"measure {target.columns[column].measure}" in text
    assert lines[-1].startswith("command     snakemake ") and lines[-1].endswith(f"{name}.csv")
    for run in CATALOG.cell_runs(target, row, column):
        assert f"run         {run} ({CATALOG.pending(run) or 'ready'})" in text
        assert "convention  " in text and "files       " in text


@pytest.mark.parametrize("name", [target.target for target in CATALOG.targets.values() if target.published])
def test_ledger_entries_of_a_target_are_shown(name: str) -> None:
    target = CATALOG.target(name)
    row, column = next(iter(target.rows)), next(iter(target.columns))
    text = "\n".join(explain(CATALOG, target, row, column, "paper"))
    for entry in CATALOG.papers[target.paper].ledger:
        if name in entry.concerns:
            assert f"ledger      {entry.id}: {entry.subject}" in text


def test_ledger_entries_concern_something_that_exists() -> None:
    for folder in CATALOG.papers.values():
        known = {*CATALOG.targets, *folder.models, *folder.protocols}
        known |= {model.spec.name for model in folder.models.values()}
        assert len(folder.ledger) >= 15
        for entry in folder.ledger:
            assert entry.concerns and set(entry.concerns) <= known, entry.id
            targets = [CATALOG.target(name) for name in entry.concerns if name in CATALOG.targets]
            for row, columns in entry.cells.items():
                explained = [target for target in targets if row in target.rows and {*columns} <= {*target.columns}]
                assert explained, (entry.id, row)


def test_every_convention_is_listed_and_every_protocol_names_one() -> None:
    _, rows = list_conventions(CATALOG)
    assert [row[0] for row in rows] == list(load_conventions())
    named = {protocol.convention for folder in CATALOG.papers.values() for protocol in folder.protocols.values()}
    assert named <= set(load_conventions())


def test_sentences_that_rest_on_a_cell_are_shown() -> None:
    text = "\n".join(explain(CATALOG, CATALOG.target("table1_totalseg"), "Universal Model", "Time (s)", "paper"))
    assert "statement   1.54 times slower than the Universal Model (ratio 1.54)" in text
    assert "1.33, 2.42" not in text
