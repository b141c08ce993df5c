"""Hours of a row: the sum over the logs of its trainings, pre-trainings included, compared with nobody's machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.catalog import load_catalog
from benchmark.catalog.published import parse_published
from benchmark.catalog.targets import Column
from benchmark.evidence.cells import build_cell
from benchmark.evidence.measured import CellSource, Evidence, measure
from benchmark.evidence.resolve import cell_sources
from benchmark.evidence.training_time import training_times
from benchmark.evidence.verdict import judge_words
from benchmark.files import write_json, write_text
from benchmark.layout import Layout

CATALOG = load_catalog()
RUN = "m4oe/flare22/m4oe/seed0"
HOURS = Column(measure="training_time", unit="hours", decimals=1)


def test_pre_trainings_count(tmp_path: Path) -> None:
    target, layout = CATALOG.target("table1_design"), Layout(str(tmp_path))
    names = CATALOG.trainings(RUN)
    assert len(names) == 5
    expected = 0.0
    for number, name in enumerate(names, start=1):
        assert not training_times(CATALOG, target, layout, "paper")  # one is not finished yet
        record = Path(layout.trained(name))
        write_text(record.with_name("log.csv"), f"step,samples_per_second\n0,{number}\n1,{2 * number}\n")
        write_json(record, {})
        batch = CATALOG.run(name).training.batch
        expected += batch / number + batch / (2 * number)
    assert training_times(CATALOG, target, layout, "paper") == {RUN: pytest.approx(expected)}
    assert training_times(CATALOG, CATALOG.target("table2_multimodal"), layout, "paper") == {}


def test_hours_are_shown_and_not_compared() -> None:
    source = CellSource(runs=(RUN,))
    found = measure(HOURS, source, Evidence(training_time={RUN: 9000.0}), parse_published("12 hours"))
    assert found.rebuilt is not None and found.rebuilt.value == 2.5
    assert found.not_comparable == "measured on our machine"
    assert measure(HOURS, source, Evidence(), parse_published("12 hours")).not_attempted == "not trained"


@pytest.mark.parametrize(
    ("printed", "ours", "verdict"),
    [
        ("(320, 320)", "(320, 320)", "within"),
        ("320 x 320", "(320, 320)", "not comparable ((320, 320) here)"),
        ("(320, 320)", "(224, 224)", "not comparable ((224, 224) here)"),
        ("2D", "2D", "within"),
        ("3D", "2D", "not comparable (2D here)"),
    ],
)
def test_words(printed: str, ours: str, verdict: str) -> None:
    assert str(judge_words(parse_published(printed), ours)) == verdict


@pytest.mark.parametrize(
    ("name", "row", "column", "text"),
    [
        ("table1_datasets", "AbdomenMRI", "Crop size", "(320, 320)"),
        ("table1_datasets", "Microscopy", "Dim", "2D"),
        ("table1_design", "MED3D", "2D/3D", "3D"),
        ("table1_design", "Ours", "2D/3D", "2D"),
    ],
)
def test_settings_that_are_no_numbers(name: str, row: str, column: str, text: str) -> None:
    target = CATALOG.target(name)
    source = cell_sources(CATALOG, target, "paper")[row, column]
    cell = build_cell(row, column, target.columns[column], target.claim(row, column), source, Evidence())
    assert (cell.text, str(cell.verdict)) == (text, "within")
