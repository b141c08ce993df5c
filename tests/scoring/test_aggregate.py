from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmark.scoring.aggregate import (
    COLUMNS,
    ROWS_PER_GROUP,
    ScoreWriter,
    average,
    failure_rates,
    read_scores,
    score_table,
    summarise,
)
from benchmark.scoring.conventions import get_convention

NAN = math.nan


def long_form(table: dict[str, list[float]], convention: str, statuses: dict[str, list[str]] | None = None):
    rows = []
    for name, column in table.items():
        for case, value in enumerate(column):
            status = statuses[name][case] if statuses else "ok"
            rows.append(("run", f"case{case}", name, "dsc", value, convention, status))
    return pd.DataFrame(rows, columns=COLUMNS)


TABLE = {"liver": [0.9, 0.8, 0.7], "spleen": [0.6, NAN, NAN], "aorta": [NAN, NAN, NAN]}


def test_the_order_of_averaging_by_hand():
    frame = long_form(TABLE, "nnunet")
    summary = summarise(frame, metric="dsc", convention=get_convention("nnunet"))
    assert summary.mean == pytest.approx((0.8 + 0.6) / 2)
    assert (summary.cases, summary.classes) == (3, 2)
    assert summary.deviation == pytest.approx(np.std([0.75, 0.8, 0.7], ddof=1))
    frame = frame.assign(convention="monai")
    assert summarise(frame, metric="dsc", convention=get_convention("monai")).mean == pytest.approx(0.75)


def test_frames_are_rounded_before_their_mean():
    convention = get_convention("umamba_endoscopy")
    frame = long_form({"a": [0.33333, 0.66666], "b": [0.33333, 0.66666]}, convention.name)
    assert summarise(frame, metric="dsc", convention=convention).mean == pytest.approx((0.3333 + 0.6667) / 2, abs=1e-12)


def test_groups_of_classes():
    frame = long_form(TABLE, "nnunet")
    convention = get_convention("nnunet")
    assert summarise(frame, metric="dsc", convention=convention, classes=["liver"]).mean == pytest.approx(0.8)
    nothing = summarise(frame, metric="dsc", convention=convention, classes=["aorta"])
    assert math.isnan(nothing.mean)
    assert (nothing.cases, nothing.classes) == (0, 0)


def test_rates_of_failure_by_hand():
    statuses = {
        "liver": ["ok", "empty_prediction", "missing_prediction", "ok"],
        "spleen": ["empty_reference", "both_empty", "missing_prediction", "both_empty"],
    }
    rates = failure_rates(long_form(dict.fromkeys(statuses, [0.0] * 4), "canonical", statuses))
    assert (rates.missing, rates.missed) == (0.25, pytest.approx(1 / 3))
    assert rates.false_positive == pytest.approx(1 / 3)
    present = failure_rates(long_form({"liver": [1.0]}, "canonical"))
    assert math.isnan(present.false_positive)


def test_two_runs_in_one_table_are_refused():
    frame = long_form(TABLE, "nnunet")
    both = pd.concat([frame, frame.assign(run="other")])
    with pytest.raises(ValueError, match="duplicate"):
        score_table(both, metric="dsc", convention=get_convention("nnunet"))


def test_scores_stream_in_row_groups_and_come_back(tmp_path):
    path = tmp_path / "scores.parquet"
    frame = long_form(TABLE, "nnunet")
    rows = list(frame.itertuples(index=False, name=None))
    repeats = ROWS_PER_GROUP // len(rows) + 2
    with ScoreWriter(path, metadata={"config_digest": "abc"}) as writer:
        for _ in range(repeats):
            writer.add(rows)
    file = pq.ParquetFile(path)
    assert file.num_row_groups == 2
    assert file.metadata.num_rows == repeats * len(rows)
    assert file.schema_arrow.metadata[b"config_digest"] == b"abc"
    back = read_scores(path, metric="dsc", convention="nnunet")
    pd.testing.assert_frame_equal(back.head(len(rows)), frame, check_dtype=False)
    assert read_scores(path, metric="hd95").empty


def test_no_scores_at_all_are_a_readable_file(tmp_path):
    path = tmp_path / "scores.parquet"
    with ScoreWriter(path, metadata={}):
        pass
    assert tuple(read_scores(path).columns) == COLUMNS
    assert math.isnan(average(pd.DataFrame(), convention=get_convention("canonical")))
