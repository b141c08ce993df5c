"""A cross-validated row of a table: mean over folds, their deviation, every case of every fold, missing folds."""

from __future__ import annotations

import re

import numpy as np
import pytest
from helpers.simulated_scores import write_scores

from benchmark.catalog.targets import Column, Row, Target
from benchmark.evidence.csv_files import table_csv
from benchmark.evidence.markdown import table_markdown
from benchmark.evidence.measured import CellSource, Evidence
from benchmark.evidence.rebuilt import build_table
from benchmark.evidence.scores import read_scores

FOLDS = {fold: (f"mine/set-fold{fold}/net/seed0", f"mine/set-fold{fold}/net/seed1") for fold in range(3)}
VALUES = {  # run → [cases, classes]: two, one and two patients, whose scores are made up
    FOLDS[0][0]: [[0.8, 0.6], [0.6, 0.4]],
    FOLDS[0][1]: [[0.9, 0.7], [0.7, 0.5]],
    FOLDS[1][0]: [[0.5, 0.5]],
    FOLDS[1][1]: [[0.7, 0.7]],
    FOLDS[2][0]: [[1.0, 0.8], [0.8, 0.6]],
    FOLDS[2][1]: [[1.0, 0.8], [0.8, 0.6]],
}
OWN = {0: 65.0, 1: 60.0, 2: 80.0}  # mean over seeds of the mean over the fold's cases and classes, in percent
COLUMNS = {
    "Params": Column(measure="parameters", unit="M", decimals=1),
    "left": Column(measure="score", metric="dsc", group="left", unit="%", decimals=2),
    "Mean": Column(measure="score", metric="dsc", unit="%", decimals=2),
    "Both": Column(measure="average", of=("left", "Mean"), unit="%", decimals=2),
}


def table(tmp_path, values=VALUES, controls=None):
    paths = []
    for number, (run, scores) in enumerate(values.items()):
        paths.append(tmp_path / f"{number}.parquet")
        options = {"classes": ("left", "right"), "convention": "canonical", "first": number // 2 * 10}
        write_scores(paths[-1], run, np.array(scores), **options)
    target = Target(
        target="t", paper="mine", kind="table", number="Table 1", title="t", protocol="set",
        rows={"net": Row(model="net"), "text": Row()}, columns=COLUMNS,
    )  # fmt: skip
    whole = CellSource(
        runs=tuple(run for runs in FOLDS.values() for run in runs), folds=FOLDS, dataset="set", convention="canonical"
    )
    sources = {("text", name): CellSource() for name in COLUMNS}
    sources |= {("net", name): whole for name in COLUMNS}
    sources["net", "left"] = CellSource(**{**vars(whole), "classes": ("left",)})
    evidence = Evidence(scores=read_scores(paths), cost={whole.runs[0]: {"parameters": 2e6}})
    return build_table(target, sources, evidence, controls=controls)


def test_the_value_is_the_mean_over_folds_whatever_their_sizes(tmp_path):
    cell = table(tmp_path).cells["net", "Mean"]
    assert cell.measured.rebuilt.value == pytest.approx(np.mean(list(OWN.values())))
    assert cell.measured.rebuilt.runs == 3 and cell.measured.interval_over == "folds"
    assert cell.measured.cases == 5 and cell.text == "68.33"
    assert cell.measured.band is None or "seeds" not in cell.measured.band.source
    half = 2.919986 * np.std(list(OWN.values()), ddof=1) / np.sqrt(3)  # Student's t, 90 %, two degrees of freedom
    assert cell.measured.rebuilt.upper - cell.measured.rebuilt.value == pytest.approx(half, rel=1e-5)


def test_each_fold_and_the_deviation_stand_in_csv_and_markdown(tmp_path):
    built = table(tmp_path)
    lines = [line.split(",") for line in table_csv(built).splitlines()]
    by_row = {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines}
    assert {fold: by_row[f"net: fold {fold}"]["Mean"] for fold in OWN} == {0: "65.00", 1: "60.00", 2: "80.00"}
    assert by_row["net: fold 1"]["Params"] == "" and by_row["net"]["Params"] == "2.0"
    assert by_row["net: sd over folds"]["Mean"] == f"{np.std([65, 60, 80], ddof=1):.2f}"
    assert by_row["net: fold 0"]["left"] == "75.00" and by_row["net: fold 0"]["Both"] == "70.00"
    text = table_markdown(built)
    assert "## Folds" in text and "68.33 ± 10.41" in text
    assert re.search(r"\| net +\| +5 \| +6 \|", text.split("## Cases and failures")[1])


def test_folds_that_are_not_run_are_said(tmp_path):
    built = table(tmp_path, {run: scores for run, scores in VALUES.items() if "fold2" not in run})
    cell = built.cells["net", "Mean"]
    assert cell.measured.not_comparable == "2 of 3 folds"
    assert cell.measured.rebuilt.value == pytest.approx(62.5)
    assert "net: fold 2,,not attempted" in table_csv(built)
    alone = table(tmp_path, {FOLDS[0][0]: VALUES[FOLDS[0][0]]})
    assert "net: sd over folds,,,," in table_csv(alone)


def test_controls_are_means_over_folds_too(tmp_path):
    by_protocol = {}
    for fold, value in enumerate((0.2, 0.3, 0.7)):
        path = tmp_path / f"control{fold}.parquet"
        write_scores(path, "control/prior", np.full((2, 2), value), classes=("left", "right"), convention="canonical")
        by_protocol[f"mine/set-fold{fold}"] = read_scores([path])["control/prior"]
    built = table(tmp_path, controls={"control: prior": by_protocol})
    assert built.controls["control: prior", "Mean"].text == "40.00"


def test_a_table_without_folds_has_no_such_part(tmp_path):
    built = table(tmp_path)
    bare = {place: CellSource(**{**vars(cell.source), "folds": {}}) for place, cell in built.cells.items()}
    other = build_table(built.target, bare, Evidence())
    assert other.folds == () and "Folds" not in table_markdown(other) and "fold 0" not in table_csv(other)
