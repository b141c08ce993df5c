"""The csv files of a rebuilt table: one line per claim with its provenance, and what is written is read back."""

from __future__ import annotations

import csv
import io

import pytest
from helpers.simulated_scores import simulated, sources_of, write_scores

from benchmark.catalog.catalog import load_catalog
from benchmark.errors import InputError
from benchmark.evidence.csv_files import COMPARE_COLUMNS, compare_csv, read_compare
from benchmark.evidence.markdown import table_markdown
from benchmark.evidence.measured import Evidence
from benchmark.evidence.rebuilt import build_table
from benchmark.evidence.resolve import cell_sources
from benchmark.evidence.scores import read_scores

TARGET = load_catalog().target("table1_totalseg")
UNETR = "swin_smt/totalseg/unetr/seed0"


@pytest.fixture
def scores(tmp_path):
    """One row of Table 1, scored on 89 cases."""
    return read_scores([write_scores(tmp_path / "unetr.parquet", UNETR, simulated(89, 0.70, 1))])


def lines_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_compare_has_one_line_per_claim_with_provenance(scores):
    lines = lines_of(compare_csv(build_table(TARGET, sources_of(TARGET), Evidence(scores=scores))))
    assert [(line["row"], line["column"]) for line in lines] == [(c.row, c.column) for c in TARGET.published]
    assert tuple(lines[0]) == COMPARE_COLUMNS
    overall = next(line for line in lines if (line["row"], line["column"]) == ("UNETR", "Overall"))
    expected = 100 * simulated(89, 0.70, 1).mean(axis=0).mean()
    assert float(overall["rebuilt"]) == pytest.approx(expected, abs=1e-4)
    assert float(overall["delta"]) == pytest.approx(expected - 70.88, abs=1e-4)
    assert float(overall["spread"]) == pytest.approx(100 * simulated(89, 0.70, 1).mean(axis=1).std(ddof=1), abs=1e-4)
    assert overall["published"] == "70.88" and overall["n"] == "89" and overall["seeds"] == "1"
    assert overall["runs"] == UNETR and overall["convention"] == "swin_smt"
    assert overall["config_digest"] == "0123456789abcdef" and overall["code_version"] == "0.1.0"
    assert "TotalSegmentator" in overall["band_source"] and overall["band"] == "1.0000"


def test_rows_of_ones_own_are_compared_with_nothing_and_kept(scores):
    """A table whose authors have published nothing yet, and one of theirs beside published rows."""
    sources = sources_of(TARGET)
    for published in ((), tuple(claim for claim in TARGET.published if claim.row != "UNETR")):
        target = TARGET.model_copy(update={"published": published})
        lines = lines_of(compare_csv(build_table(target, sources, Evidence(scores=scores))))
        found = {(line["row"], line["column"]): line for line in lines}
        assert len(lines) == len(found) == len(TARGET.published)
        overall = found["UNETR", "Overall"]
        expected = 100 * simulated(89, 0.70, 1).mean(axis=0).mean()
        assert float(overall["rebuilt"]) == pytest.approx(expected, abs=1e-4)
        assert (overall["published"], overall["n"], overall["runs"], overall["convention"]) == (
            "",
            "89",
            UNETR,
            "swin_smt",
        )
        assert overall["verdict"] == "nothing published" and overall["delta"] == ""
        assert found["UNETR", "Time (s)"]["verdict"] == "not attempted (no GPU)"


def test_the_ledgers_reading_stands_beside_the_cells_it_explains():
    table = build_table(TARGET, cell_sources(load_catalog(), TARGET, "paper"), Evidence())
    readings = {(line["row"], line["column"]): line["reading"] for line in lines_of(compare_csv(table))}
    assert readings["DiNTS", "Params (M)"] == "147.00 M parameters of DiNTS: no other architecture is published"
    assert not readings["DiNTS", "Overall"] and not readings["SwinUNETR-S", "Params (M)"]
    assert "- DiNTS, Params (M): 147.00 M parameters of DiNTS: no other" in table_markdown(table)


def test_what_is_written_is_read_back(tmp_path, scores):
    path = tmp_path / "table.compare.csv"
    assert read_compare(path, COMPARE_COLUMNS) == {}
    text = compare_csv(build_table(TARGET, sources_of(TARGET), Evidence(scores=scores)))
    path.write_text(text, encoding="utf-8")
    assert list(read_compare(path, COMPARE_COLUMNS[2:]).values()) == lines_of(text)
    path.write_text(text.replace(",verdict,", ",verdikt,"), encoding="utf-8")
    with pytest.raises(InputError, match="damaged") as caught:
        read_compare(path, ["verdict"])
    assert "verdikt" in str(caught.value) and str(path) in str(caught.value)
