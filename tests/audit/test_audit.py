"""The audit: interval arithmetic by hand and by random search, every known finding, nothing invented."""

from __future__ import annotations

import argparse
import csv
import io
import math
import re
import shutil
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.audit import audit as page
from benchmark.audit.arithmetic import Quantity, difference, gap, mean, ratio, relative_gain, scaled, total
from benchmark.audit.findings import Agreement, Finding, compare, stated
from benchmark.audit.selection import concerning, read_selection
from benchmark.audit.standard_errors import printed_means
from benchmark.catalog import Catalog, load_catalog
from benchmark.catalog.catalog import DEFAULT_FOLDER
from benchmark.catalog.published import Interval
from benchmark.cli import main
from benchmark.errors import InputError

CATALOG = load_catalog()
FINDINGS = page.audit(CATALOG, {})  # counts of networks are a matter of tests/models
DOES_NOT_ADD_UP = {
    ("mean of columns", "table2_multimodal > FLARE22: MED3D > Mean"),
    ("mean of columns", "table3_atlas > DoDNet > DSC (%) Mean"),
    ("same cell in two tables", "table1_abdomenmri > nnFormer > DSC"),
    ("statement: mean_relative_gain", "3.45% over STU-Net-L"),
    ("statement: outperforms", "Our method shows slight performance decreases when introducing MRI"),
    ("statement: rank", "with the highest mean dice scores"),
    ("statement: rank", "achieving the highest DSC in FALRE and AMOS-CT tasks"),
    ("statement: share_of_mean", "only 30% of its compared methods"),
    ("statement: outperforms", "MoE-SAM outperforms both task-specialized models"),
    ("statement: outperforms", "MoE-SAM outperforms all other SAM adaptations"),
    ("statement: same", "First, we train the baseline method – Swin UNETR-B"),
    ("statement: rank", "its closest counterpart U-Mamba"),
    ("statement: outperforms", "All Mamba-based networks outperform"),
    ("statement: same", "only requires 100 epochs"),
    ("statement: difference", "increases the F1 score by 2.31%"),
    ("overall of groups", "table1_totalseg >"),
}


def number(text: str) -> Quantity:
    return stated(text)


def around(value: Quantity) -> tuple[str, str]:
    return str(value.interval.lower.normalize()), str(value.interval.upper.normalize())


def test_arithmetic_by_hand() -> None:
    assert around(total([number("1.0"), number("2.0")])) == ("2.9", "3.1")
    assert around(mean([number("79.54"), number("24.03")])) == ("51.78", "51.79")
    assert around(difference(number("83.73"), number("82.81"))) == ("0.91", "0.93")
    assert mean([number("1"), number("4")], [2, 1]).nominal == 2
    assert scaled(number("0.5"), Decimal(100)).nominal == 50
    low, high = ratio(number("80"), number("60")).interval.lower, ratio(number("80"), number("60")).interval.upper
    assert low == Decimal("79.5") / Decimal("60.5") and high == Decimal("80.5") / Decimal("59.5")
    assert round(relative_gain(number("89.38"), number("88.09")).nominal, 2) == Decimal("1.46")
    assert gap(Interval(Decimal(1), Decimal(2)), Interval(Decimal(5), Decimal(6))) == 3
    assert gap(Interval(Decimal(1), Decimal(3)), Interval(Decimal(2), Decimal(6))) == 0
    with pytest.raises(ValueError, match="nothing"):
        mean([])
    with pytest.raises(ValueError, match="zero"):
        ratio(number("1"), number("0"))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=7))
def test_the_true_result_is_always_inside(thousandths: list[int]) -> None:
    """Whatever was rounded: the intervals of mean, difference and ratio hold the values of the unrounded numbers."""
    true = [Decimal(value) / 1000 for value in thousandths]
    printed = [number(f"{value:.2f}") for value in true]
    assert mean(printed).interval.contains(sum(true) / len(true))
    assert difference(printed[0], printed[1]).interval.contains(true[0] - true[1])
    if printed[1].interval.lower > 0:
        inside = ratio(printed[0], printed[1]).interval
        assert inside.lower <= true[0] / true[1] <= inside.upper


@pytest.mark.parametrize(
    ("expected", "printed", "outcome"),
    [
        ("1.54", "1.54", "AGREES"),
        ("1.547", "1.54", "DISAGREES"),
        ("1.5", "1.54", "ROUNDING"),
        ("2", "3.1", "DISAGREES"),
    ],
)
def test_outcomes(expected: str, printed: str, outcome: str) -> None:
    assert compare(number(expected), number(printed))[0] is Agreement[outcome]


def found(check: str, subject: str) -> list[Finding]:
    return [finding for finding in FINDINGS if finding.check == check and subject in finding.subject]


@pytest.mark.parametrize(("check", "subject"), sorted(DOES_NOT_ADD_UP))
def test_known_findings_come_out(check: str, subject: str) -> None:
    assert any(finding.outcome is Agreement.DISAGREES for finding in found(check, subject))


def test_nothing_else_is_accused() -> None:
    for finding in FINDINGS:
        if finding.outcome is Agreement.DISAGREES:
            known = [finding.check == check and subject in finding.subject for check, subject in DOES_NOT_ADD_UP]
            assert any(known), (finding.check, finding.subject)


def test_the_atlas_mean_by_hand() -> None:
    (finding,) = found("mean of columns", "table3_atlas > DoDNet > DSC")
    assert finding.expected == "51.785 in [51.78, 51.79]" and finding.difference == "+0.555"


def test_printed_numbers_are_shown_as_printed() -> None:
    """With their trailing zeros and units; a number of the text that is exact has no interval."""
    (finding,) = found("mean of columns", "AMOS-CT: MED3D > Mean")
    assert finding.printed.startswith("79.00 in [78.995")
    (epochs,) = found("statement: same", "only requires 100 epochs")
    assert (epochs.printed, epochs.expected) == ("100", "200")


def test_truncating_authors_are_not_accused() -> None:
    """Swin SMT cuts digits: 83.628616 M is printed 83.62, which rounding to the nearest would not explain."""
    counts = {"swin_smt/totalseg/swin_smt-n4/seed0": {"parameters": 83_628_616.0}}
    (finding,) = [finding for finding in page.audit(CATALOG, counts) if finding.check == "counted parameters"]
    assert finding.outcome is Agreement.AGREES and finding.printed.endswith(")")


@pytest.mark.parametrize(
    ("table", "old", "new", "check"),
    [
        ("m4oe/table2_multimodal", "AMOS-CT: MED3D,Mean,79.00", "AMOS-CT: MED3D,Mean,79.10", "mean of columns"),
        ("swin_smt/table1_totalseg", "Swin SMT (ours),Time (s),60", "Swin SMT (ours),Time (s),62", "statement: ratio"),
        ("swin_smt/table1_totalseg", "UNETR,Organs,73.84", "UNETR,Organs,93.84", "marking"),
        ("m4oe/table3_atlas", "Ours,mIoU (%) Liver,86.34", "Ours,mIoU (%) Liver,91.34", "IoU of Dice"),
    ],
)
def test_a_wrong_digit_is_found(tmp_path: Path, table: str, old: str, new: str, check: str) -> None:
    folder = Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "paper_tables"))
    path = folder / f"{table}.published.csv"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    before = sum(finding.check == check and finding.outcome is Agreement.DISAGREES for finding in FINDINGS)
    after = page.audit(Catalog(folder), {})
    assert sum(finding.check == check and finding.outcome is Agreement.DISAGREES for finding in after) > before


def test_contradictions_are_those_of_the_audit(tmp_path: Path) -> None:
    """The files that the tables' verdicts read are generated: python -m benchmark audit --contradictions."""
    copy = Path(shutil.copytree(DEFAULT_FOLDER, tmp_path / "paper_tables"))
    for path in copy.glob("*/contradictions.csv"):
        path.unlink()
    page.write_contradictions(Catalog(copy), FINDINGS)
    written = {path.parent.name: path.read_text() for path in copy.glob("*/contradictions.csv")}
    assert written == {path.parent.name: path.read_text() for path in DEFAULT_FOLDER.glob("*/contradictions.csv")}
    assert len(written) == 3


def test_the_page_and_its_csv(tmp_path: Path) -> None:
    arguments = argparse.Namespace(
        scale="paper",
        paper_tables=str(DEFAULT_FOLDER),
        results=str(tmp_path),
        contradictions=False,
        selection=[],
        seeds=None,
        variant=None,
        share=0.1,
    )
    assert page.main(arguments) == 0
    text = (tmp_path / "audit.md").read_text(encoding="utf-8")
    for folder in CATALOG.papers.values():
        assert f"## {folder.paper.title}" in text
    lines = list(csv.DictReader(io.StringIO((tmp_path / "audit.csv").read_text(encoding="utf-8"))))
    assert len(lines) >= len(FINDINGS) and tuple(lines[0]) == page.COLUMNS
    assert {line["outcome"] for line in lines} == {str(outcome) for outcome in Agreement}


def test_every_statement_is_checked_once() -> None:
    from benchmark.catalog.statements import load_statements

    statements = load_statements(CATALOG)
    assert len([finding for finding in FINDINGS if finding.check.startswith("statement")]) == len(statements) > 100


def test_a_selection_is_printed_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def printed(*words: str) -> str:
        assert main(["audit", *words, "--results", str(tmp_path)]) == 0
        return capsys.readouterr().out

    paper, target = printed("moe_sam"), printed("table3_atlas")
    assert f"{sum(finding.paper == 'moe_sam' for finding in FINDINGS)} checks" in paper
    assert "table3_atlas > DoDNet > DSC (%) Mean" in target and "table2_multimodal > " not in target.split("\n")[0]
    cell = printed("table3_atlas", "DoDNet", "DSC (%) Mean")
    assert cell == printed("table3_atlas > DoDNet > DSC (%) Mean")
    assert cell.startswith("Does not add up (1)\n\n- **mean of columns**: table3_atlas > DoDNet > DSC (%) Mean")
    assert not list(tmp_path.iterdir())


def test_a_statement_is_found_by_every_cell_that_it_rests_on() -> None:
    """Also by those that its line abbreviates as `… (12 cells)`."""
    chosen = read_selection(CATALOG, ["table1_totalseg", "nnFormer", "Overall"])
    (starred,) = [finding for finding in concerning(FINDINGS, chosen) if finding.check == "statement: starred"]
    assert "table1_totalseg > nnFormer > Overall" not in starred.cells


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["moe_sm"], "unknown paper or target 'moe_sm'; did you mean 'moe_sam'?"),
        (["table3_atlas > DodNet"], "did you mean 'DoDNet'?"),
        (["table3_atlas", "DoDNet", "mean"], "'DSC (%) Mean'"),
        (["table3_atlas", "a", "b", "c"], "not a cell"),
    ],
)
def test_a_selection_that_does_not_exist_names_the_nearest(words: list[str], offered: str) -> None:
    with pytest.raises(InputError, match=re.escape(offered)):
        read_selection(CATALOG, words)


def test_the_best_row_and_what_its_standard_error_separates() -> None:
    """Swin-UMamba† 0.7767 ± 0.0940 over 50 scans against SwinUNETR 0.7028 ± 0.1348: 3.2 standard errors; by hand."""
    (finding,) = found("best row and standard error", "table1_abdomenmri > Swin-UMamba† (w/ foundation model) > DSC")
    assert finding.outcome is Agreement.NOTABLE and "standard error 0.0133 over 50 cases" in finding.note
    means = printed_means(CATALOG, CATALOG.target("table1_abdomenmri"), "DSC")
    best = means["Swin-UMamba† (w/ foundation model)"]
    for row, other in means.items():
        limit = 1.959964 * math.sqrt(best.deviation**2 / 50 + other.deviation**2 / 50)
        near = abs(best.mean - other.mean) <= limit
        assert (f"{row} ({other.mean:.4f}".rstrip("0") in finding.note) is (near and other is not best), row
    assert not best.separable_from(means["U-Mamba_Enc"]) and best.separable_from(means["SwinUNETR"])
