"""From long-form scores to the numbers of a table: means in the convention's order, groups, and rates of failure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.scoring.conventions import Convention

if TYPE_CHECKING:  # who reads no score does without its import
    import pandas as pd

COLUMNS = ("run", "case", "class", "metric", "value", "convention", "status")
SCHEMA = pa.schema([(name, pa.float64() if name == "value" else pa.string()) for name in COLUMNS])
ROWS_PER_GROUP = 65_536


@dataclass(frozen=True)
class Rates:
    """How often things failed, whatever the convention makes of it; NaN where there was no opportunity.

    Attributes:
        missing: cases without a prediction / all cases.
        missed: structures in the reference but not in the prediction / structures in the reference.
        false_positive: structures in the prediction but not in the reference / structures not in the reference.
    """

    missing: float
    missed: float
    false_positive: float


@dataclass(frozen=True)
class Summary:
    """One number of a table with what belongs beside it.

    Attributes:
        mean: in the convention's averaging order; NaN where nothing has a value.
        deviation: standard deviation (n - 1) over the cases' means over classes, the ± of the papers.
        cases, classes: how many of each contributed at least one value.
        rates: failures among the chosen classes.
    """

    mean: float
    deviation: float
    cases: int
    classes: int
    rates: Rates


class ScoreWriter:
    """Streams scores into a Parquet file, a row group at a time; use as a context manager.

    Args:
        path: where to write; the caller makes it atomic.
        metadata: strings kept in the file's schema, e.g. configuration digest and code version.
    """

    def __init__(self, path: Path, *, metadata: dict[str, str]) -> None:
        self._writer = pq.ParquetWriter(path, SCHEMA.with_metadata(metadata), compression="zstd")
        self._rows: list[tuple] = []

    def add(self, rows: Sequence[tuple]) -> None:
        """Append rows with the values of COLUMNS."""
        self._rows += rows
        if len(self._rows) >= ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        columns: list[tuple] = list(zip(*self._rows, strict=True)) or [() for _ in COLUMNS]
        arrays = [pa.array(column, type=field.type) for column, field in zip(columns, SCHEMA, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._writer.schema))
        self._rows = []

    def __enter__(self) -> ScoreWriter:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._flush()
        self._writer.close()


def read_scores(path: Path, *, metric: str | None = None, convention: str | None = None) -> pd.DataFrame:
    """Read scores, only those of one metric or convention where given (rows of others are not loaded)."""
    wanted = [(name, "==", value) for name, value in (("metric", metric), ("convention", convention)) if value]
    return pq.read_table(path, filters=wanted or None).to_pandas()


def score_table(
    scores: pd.DataFrame, *, metric: str, convention: Convention, classes: Collection[str] | None = None
) -> pd.DataFrame:
    """Values of one metric under one convention as a table, cases × classes.

    Args:
        scores: long-form scores of one run.
        classes: only these; default all.

    Raises:
        ValueError: if a (case, class) occurs twice, as when scores of several runs are mixed.
    """
    return _select(scores, metric, convention, classes).pivot(index="case", columns="class", values="value")


def case_values(table: pd.DataFrame, *, convention: Convention) -> pd.Series:
    """Mean over classes of every case, rounded where the convention rounds cases; NaN for a case without a value."""
    values = table.mean(axis=1)
    if convention.rounding and convention.rounding.of == "case":
        values = values.round(convention.rounding.decimals)
    return values


def class_values(table: pd.DataFrame) -> pd.Series:
    """Mean over cases of every class; NaN for a class without a value."""
    return table.mean(axis=0)


def average(table: pd.DataFrame, *, convention: Convention) -> float:
    """One number from a table cases × classes, in the convention's order; values without a number are left out."""
    if convention.averaging == "classes_then_cases":
        return float(case_values(table, convention=convention).mean())
    return float(class_values(table).mean())


def summarise(
    scores: pd.DataFrame, *, metric: str, convention: Convention, classes: Collection[str] | None = None
) -> Summary:
    """Mean, deviation, counts and failure rates of one metric of one run.

    Args:
        scores: long-form scores (COLUMNS) of one run; may hold other metrics and conventions.
        classes: a group of classes (organs, vertebrae, …) by name; default all.
    """
    table = score_table(scores, metric=metric, convention=convention, classes=classes)
    cases = case_values(table, convention=convention).dropna()
    with np.errstate(invalid="ignore"):  # conventions that score infinity have no deviation
        deviation = float(cases.std(ddof=1))
    return Summary(
        mean=average(table, convention=convention),
        deviation=deviation,
        cases=len(cases),
        classes=int(table.notna().any(axis=0).sum()),
        rates=failure_rates(_select(scores, metric, convention, classes)),
    )


def failure_rates(scores: pd.DataFrame) -> Rates:
    """Failure rates of long-form scores of one run, metric and convention."""
    counts = scores["status"].value_counts()
    number = {name: int(counts.get(name, 0)) for name in ("ok", "empty_prediction", "empty_reference", "both_empty")}
    missing = scores.loc[scores["status"] == "missing_prediction", "case"].nunique()
    return Rates(
        missing=_share(missing, scores["case"].nunique()),
        missed=_share(number["empty_prediction"], number["ok"] + number["empty_prediction"]),
        false_positive=_share(number["empty_reference"], number["both_empty"] + number["empty_reference"]),
    )


def summaries(scores: pd.DataFrame, conventions: Sequence[Convention]) -> Iterator[tuple[str, str, Summary]]:
    """(convention, metric, summary) for everything that long-form scores of one run hold, volumes left out."""
    for convention in conventions:
        present = scores.loc[scores["convention"] == convention.name, "metric"].unique()
        for metric in present:
            if metric.split("@")[0] in convention.rules:
                yield convention.name, metric, summarise(scores, metric=metric, convention=convention)


def _select(scores: pd.DataFrame, metric: str, convention: Convention, classes: Collection[str] | None) -> pd.DataFrame:
    chosen = (scores["metric"] == metric) & (scores["convention"] == convention.name)
    if classes is not None:
        chosen &= scores["class"].isin(list(classes))
    return scores[chosen]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def format_value(value: float) -> str:
    """Four decimals; `-` where there is no value."""
    return "-" if np.isnan(value) else f"{value:.4f}"
