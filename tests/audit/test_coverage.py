"""Coverage and budget pages: every number once, states that follow from the files, sums that add up."""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from pathlib import Path

import pytest

from benchmark.audit import coverage
from benchmark.catalog import load_catalog
from benchmark.catalog.catalog import DEFAULT_FOLDER
from benchmark.catalog.statements import load_statements
from benchmark.cost import budget_page
from benchmark.cost.planner import Planner
from benchmark.errors import InputError
from benchmark.evidence import table
from benchmark.evidence.markdown import aligned
from benchmark.layout import Layout

CATALOG = load_catalog()


def arguments(results: Path, scale: str = "paper", **more) -> argparse.Namespace:
    defaults = {
        "scores": None,
        "cost": None,
        "latency": None,
        "controls": [],
        "out_dir": None,
        "seeds": None,
        "variant": None,
        "unit": "cases",
        "share": 0.1,
        "rate": None,
    }
    return argparse.Namespace(
        scale=scale, paper_tables=str(DEFAULT_FOLDER), results=str(results), **{**defaults, **more}
    )


def test_every_published_number_once(tmp_path: Path) -> None:
    lines = list(coverage.coverage(CATALOG, Layout(str(tmp_path)), "paper"))
    cells = sum(len(target.published) for target in CATALOG.targets.values())
    assert len(lines) == cells + len(load_statements(CATALOG))
    names = Counter((line.paper, line.target, line.row, line.column) for line in lines)
    assert max(names.values()) == 1
    assert {line.state for line in lines} <= set(coverage.STATES)


def test_states_without_any_result(tmp_path: Path) -> None:
    for line in coverage.coverage(CATALOG, Layout(str(tmp_path)), "paper"):
        if line.kind == "cell":
            assert not line.state.startswith("rebuilt")
        if line.state == "not attempted":
            assert line.reason
        if line.printed == "unreadable":
            assert line.state == "unreadable"


@pytest.mark.parametrize("scale", ["paper", "demo"])
def test_a_cell_without_need_of_data_is_rebuilt_at_once(tmp_path: Path, scale: str) -> None:
    """The number of experts is a setting: building the table is all it takes, at any scale."""
    table.main(arguments(tmp_path, scale, target="table2_experts"))
    lines = {
        (line.row, line.column): line
        for line in coverage.coverage(CATALOG, Layout(str(tmp_path)), scale)
        if line.target == "table2_experts"
    }
    experts = lines["+ Soft MoE (n = 8)", "Experts (n)"]
    assert (experts.needs, experts.state, experts.reason) == ("nothing", "rebuilt", "within")
    score = lines["+ Soft MoE (n = 8)", "DSC (%)"]
    assert score.state == "not attempted" and score.needs.startswith("data, a GPU and training")


def test_settings_printed_in_words_are_compared(tmp_path: Path) -> None:
    table.main(arguments(tmp_path, target="table1_datasets"))
    lines = coverage.coverage(CATALOG, Layout(str(tmp_path)), "paper")
    states = {line.column: line.state for line in lines if line.target == "table1_datasets" and line.row == "Endoscopy"}
    assert {states[name] for name in ("Crop size", "Dim", "#Training", "Epochs")} == {"rebuilt"}


def test_coverage_page(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no results folder here"):
        coverage.main(arguments(tmp_path / "nowhere"))
    assert not list(tmp_path.iterdir())
    assert coverage.main(arguments(tmp_path)) == 0
    with (tmp_path / "coverage.csv").open(encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    text = (tmp_path / "coverage.md").read_text(encoding="utf-8")
    (together,) = [line for line in text.splitlines() if line.startswith("| together")]
    counts = [int(field) for field in together.split("|")[2:-1]]
    assert counts[0] == len(lines) == sum(counts[1:])


def test_budget_page(tmp_path: Path) -> None:
    assert budget_page.main(arguments(tmp_path)) == 0
    with (tmp_path / "budget.csv").open(encoding="utf-8") as stream:
        lines = {line["target"]: line for line in csv.DictReader(stream)}
    assert set(lines) == set(CATALOG.targets)
    totalseg = lines["table1_totalseg"]
    assert (totalseg["runs"], totalseg["optimiser_steps"]) == ("12", str(12 * 136_000))
    assert totalseg["download_bytes"] == "23581218285" and "CC BY 4.0" in totalseg["licences"]
    assert lines["table3_atlas"]["accounts"].startswith("registration")
    text = (tmp_path / "budget.md").read_text(encoding="utf-8")
    assert "GPU-hours: forward operations" in text


def test_an_archive_that_two_datasets_share_is_downloaded_once() -> None:
    planner = Planner(CATALOG)
    once, both = budget_page.disk(planner, ["amos_ct"])[0], budget_page.disk(planner, ["amos_ct", "amos_ct_mri"])[0]
    assert once == both == 24_200_000_000
    assert budget_page.disk(planner, ["amos_ct", "flare22"])[0] is None  # FLARE22's size is not known


@pytest.mark.parametrize(
    ("column", "right"),
    [
        (["1", "unknown", "≥ 2,000"], True),
        (["170.78 = (170.78)", "– · (60)", "–"], True),
        (["84.2 in [84.1, 84.3]", ""], True),
        (["23.6 GB", "unknown"], True),
        (["table1_totalseg", "fig3a_subgroups"], False),
        (["50 labelled cases; four fifths of them for training, as elsewhere"], False),
        (["CC BY 4.0", "none"], False),
        (["", "–"], False),
    ],
)  # fmt: skip
def test_numbers_go_right_and_words_left(column: list[str], right: bool) -> None:
    rows = [["first", "second"], *(["1", text] for text in column)]
    rule = aligned(rows).splitlines()[1].split("|")
    assert rule[1].strip(" -") == "" and rule[2].rstrip().endswith(":") is right
    assert len({len(line) for line in aligned(rows).splitlines()}) == 1


def test_a_mean_over_datasets_needs_the_weights_of_its_runs(tmp_path: Path) -> None:
    lines = coverage.coverage(CATALOG, Layout(str(tmp_path)), "paper")
    (line,) = [line for line in lines if (line.row, line.column) == ("Swin-UMamba† (w/ ImageNet)", "AVG")]
    assert line.needs.endswith("weights vmamba_tiny_imagenet_dagger") and len(line.runs.split()) == 3


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table1_totalseg.compare.csv"
    path.write_text("row,column\nUNETR,Organs\n", encoding="utf-8")
    with pytest.raises(InputError, match="a rebuilt table is damaged") as caught:
        list(coverage.coverage(CATALOG, Layout(str(tmp_path)), "paper"))
    assert str(path) in str(caught.value) and "verdict" in str(caught.value)


def test_hours_of_training_wait_for_no_dataset(tmp_path: Path) -> None:
    table.main(arguments(tmp_path, target="table1_design"))
    lines = coverage.coverage(CATALOG, Layout(str(tmp_path)), "paper")
    reasons = {line.column: line.reason for line in lines if line.target == "table1_design" and line.row == "MED3D"}
    assert reasons["Training hours"] == "not trained"
    assert reasons["# Param"] == "not counted"
