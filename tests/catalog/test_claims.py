"""The published cells: two independent passes agree, every one stands in the paper's text, none changes unnoticed.

`second_pass/<target>.txt` was typed from the papers' texts without sight of paper_tables: one line per row, cells
parted by " | ", `.` for an empty cell, `b:` and `u:` for bold and underlined, stars behind the value as printed.
`digests.yaml` holds the digest of every table; write it anew with `python tests/catalog/test_claims.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from benchmark.catalog import load_catalog
from benchmark.catalog.targets import UNREADABLE, Claim, Target
from benchmark.files import value_digest

HERE = Path(__file__).parent
DIGESTS = HERE / "digests.yaml"
MARKS = {"b": "bold", "u": "underline"}
# Numbers of a row stand apart in the damaged text of this table; the row of its one readable NSD is inferred.
SCATTERED = {"table4_structure"}
TABLES = [target for target in load_catalog().targets.values() if target.published]


def digest(target: Target) -> str:
    return value_digest([claim.model_dump(mode="json") for claim in target.published])


def second_pass(target: Target) -> list[list[tuple[str, str, str]]]:
    """(value, stars, marking) per row and column."""
    lines = (HERE / "second_pass" / f"{target.target}.txt").read_text(encoding="utf-8").splitlines()
    return [[_typed(cell) for cell in line.split(" | ")] for line in lines]


def _typed(cell: str) -> tuple[str, str, str]:
    match = re.fullmatch(r"(?:(?P<mark>[bu]):)?(?P<value>.*?)\s*(?P<stars>\(\*\)|\*)?", cell)
    assert match is not None
    value = "" if match["value"] == "." else match["value"]
    return value, match["stars"] or "", MARKS.get(match["mark"], "")


def readable(text: str) -> str:
    """The text without the markup of whatever turned the page into text."""
    text = text.replace(r"$\sqrt{\ }$", "√").replace("☑", "✓")
    return re.sub(r"</?[bu]>|[$\\]", "", text)


def rows_of(target: Target) -> dict[str, list[Claim]]:
    rows: dict[str, list[Claim]] = {}
    for claim in target.published:
        rows.setdefault(claim.row, []).append(claim)
    return rows


def test_every_table_has_claims_for_all_of_its_cells() -> None:
    for target in load_catalog().targets.values():
        assert bool(target.published) == (target.kind == "table"), target.target
        cells = [(claim.row, claim.column) for claim in target.published]
        assert cells == [(row, column) for row in target.rows for column in target.columns] if cells else True


@pytest.mark.parametrize("target", TABLES, ids=lambda target: target.target)
def test_the_two_passes_agree_cell_by_cell(target: Target) -> None:
    first = [[(claim.value, claim.stars, claim.marking) for claim in row] for row in rows_of(target).values()]
    assert first == second_pass(target)


@pytest.mark.parametrize("target", TABLES, ids=lambda target: target.target)
def test_no_published_cell_changes_unnoticed(target: Target) -> None:
    assert yaml.safe_load(DIGESTS.read_text())[target.target] == digest(target), (
        f"a published cell of {target.target} has changed; if the paper says so: python tests/catalog/test_claims.py"
    )


@pytest.mark.real_data
@pytest.mark.parametrize("target", TABLES, ids=lambda target: target.target)
def test_every_value_stands_in_the_paper(target: Target, papers) -> None:
    """Each value verbatim, and the numbers of a row one behind the other with no other number between them."""
    text = readable(papers(f"{target.paper}.txt").read_text(encoding="utf-8"))
    for row, claims in rows_of(target).items():
        values = [claim.value for claim in claims if claim.value not in ("", "-", UNREADABLE)]
        assert [value for value in values if value not in text] == [], row
        numbers = [re.escape(value) for value in values if re.search(r"\d", value)]
        if target.target not in SCATTERED and numbers:
            assert re.search(r"[^\d]{1,30}".join(numbers), text), f"{row}: {values} do not stand in one row"


@pytest.mark.real_data
@pytest.mark.parametrize("target", TABLES, ids=lambda target: target.target)
def test_markings_are_those_of_the_text(target: Target, papers) -> None:
    """Bold and underlined values: as many as the text marks, and the same ones."""
    text = papers(f"{target.paper}.txt").read_text(encoding="utf-8")
    for tag, marking in MARKS.items():
        marked = {value for value in re.findall(rf"<{tag}>([\d.]+)</{tag}>", text)}
        ours = {claim.value for claim in target.published if claim.marking == marking}
        others = {claim.value for other in TABLES for claim in other.published if claim.marking == marking}
        assert ours <= marked and marked <= others | ours


if __name__ == "__main__":
    DIGESTS.write_text(yaml.safe_dump({target.target: digest(target) for target in TABLES}, sort_keys=True))
    print(f"wrote {DIGESTS}")
