"""Statements: verbatim in the papers, references that select cells, and messages where they do not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from benchmark.catalog import Catalog, load_catalog
from benchmark.catalog.catalog import DEFAULT_FOLDER
from benchmark.catalog.statements import Reference, load_statements, select
from benchmark.errors import InputError

CATALOG = load_catalog()
STATEMENTS = load_statements(CATALOG)


@pytest.mark.real_data
@pytest.mark.parametrize("paper", CATALOG.papers)
def test_sentences_stand_in_the_paper(paper: str, papers) -> None:
    text = re.sub(r"\s+", " ", papers(f"{paper}.txt").read_text(encoding="utf-8"))
    own = [statement for statement in STATEMENTS if statement.paper == paper]
    assert own and [statement.text for statement in own if re.sub(r"\s+", " ", statement.text) not in text] == []


@pytest.mark.parametrize("paper", CATALOG.papers)
def test_printed_values_stand_in_their_sentence(paper: str) -> None:
    """Ranks, shares and sums print words; every other value is one of the digits of its own sentence."""
    words = {"rank", "count", "sum", "below", "ratio"}
    for statement in STATEMENTS:
        if statement.paper == paper and statement.value and statement.kind not in words:
            numbers = re.findall(r"[\d.,]+\d", statement.value) or [statement.value]
            assert all(number in statement.text for number in numbers), statement.id


def test_references_select_cells() -> None:
    cells = select(CATALOG, Reference("table1_totalseg", "SwinUNETR-*", "Organs|Ribs"))
    assert [cell.claim.value for cell in cells] == ["78.21", "69.98", "83.46", "82.61", "83.26", "83.82"]
    assert len(select(CATALOG, Reference("table2_experts", "+ Soft MoE (n = 4)", None), "DSC (%)")) == 1
    assert str(select(CATALOG, Reference("", "1000", None))[0]) == "1000"


LINE = 'x,some words,difference,"{cells}",1%\n'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (LINE.format(cells="table1_totalseg > UNETR > Organs"), ["takes 2 references", "statements.csv:"]),
        (LINE.format(cells="table1_totalseg > UNTR > Organs ; = 2"), ["UNTR", "UNETR"]),
        (LINE.format(cells="table9 > UNETR > Organs ; = 2"), ["unknown target", "table9"]),
        (LINE.format(cells="table1_totalseg ; = 2"), ["not a reference", "target > row > column"]),
        (LINE.format(cells="= 1 ; = 2").replace("difference", "diference"), ["kind", "difference"]),
        (LINE.format(cells="= 1 ; = 2") * 2, ["stands twice"]),
        ("x,too few fields\n", ["wrong number of fields"]),
    ],
)
def test_a_wrong_line_names_what_is_allowed(tmp_path: Path, line: str, words: list[str]) -> None:
    folder = Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "paper_tables"))
    with (folder / "swin_smt" / "statements.csv").open("a", encoding="utf-8") as stream:
        stream.write(line)
    with pytest.raises(InputError) as caught:
        load_statements(Catalog(folder))
    for word in words:
        assert word in str(caught.value)
