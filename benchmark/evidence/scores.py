"""Reading scores.parquet: the scores of one run as a matrix of cases and classes, and how often it failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmark.errors import InputError

COLUMNS = ("run", "case", "class", "metric", "value", "convention", "status")
FAILURES = {
    "missing_prediction": "no prediction",
    "empty_prediction": "structure missed",
    "empty_reference": "predicted though absent",
}


@dataclass(frozen=True)
class ScoreMatrix:
    """Scores of one metric and convention of one run.

    Attributes:
        values: [cases, classes]; NaN where the convention leaves a score out.
        cases, classes: their names, in the order of `values`; cases are sorted.
        statuses: share of (case, class) pairs by status.
    """

    values: NDArray[np.float64]
    cases: tuple[str, ...]
    classes: tuple[str, ...]
    statuses: dict[str, float]

    def restricted(self, classes: Sequence[str] | None) -> ScoreMatrix:
        """Only the named classes (None: all). Raises InputError naming a class that was not scored."""
        if classes is None:
            return self
        missing = [name for name in classes if name not in self.classes]
        if missing:
            raise InputError(
                "a label group names structures that the scores do not have",
                found=", ".join(missing[:5]),
                expected="structures of the scored dataset",
                remedy="score with the labels of this dataset, or correct the group",
            )
        columns = [self.classes.index(name) for name in classes]
        return ScoreMatrix(self.values[:, columns], self.cases, tuple(classes), self.statuses)


@dataclass(frozen=True)
class RunScores:
    """Everything scored of one run, with the provenance written in the file's metadata."""

    run: str
    table: pa.Table
    config_digest: str
    code_version: str

    @property
    def conventions(self) -> tuple[str, ...]:
        return tuple(sorted(self.table["convention"].unique().to_pylist()))

    def matrix(self, metric: str, convention: str) -> ScoreMatrix | None:
        """Scores of `metric` under `convention`; None if it was not scored.

        Raises:
            InputError: a (case, class) pair stands twice.
        """
        metrics, conventions = self.table["metric"].to_numpy(), self.table["convention"].to_numpy()
        chosen = (metrics == metric) & (conventions == convention)
        if not chosen.any():
            return None
        cases, row = np.unique(self.table["case"].to_numpy()[chosen].astype(str), return_inverse=True)
        names = self.table["class"].to_numpy()[chosen].astype(str)
        classes = tuple(dict.fromkeys(names))  # in the order of the labels, not of the alphabet
        index = {name: number for number, name in enumerate(classes)}
        column = np.array([index[name] for name in names])
        if len(np.unique(row * len(classes) + column)) < len(row):
            raise InputError("a case and class is scored twice", where=self.run, found=f"{metric}, {convention}")
        values = np.full((len(cases), len(classes)), np.nan)
        values[row, column] = self.table["value"].to_numpy()[chosen]
        kinds, counts = np.unique(self.table["status"].to_numpy()[chosen].astype(str), return_counts=True)
        shares = {str(kind): float(count) / len(row) for kind, count in zip(kinds, counts, strict=True)}
        return ScoreMatrix(values, tuple(map(str, cases)), classes, shares)


def read_scores(paths: Iterable[str | Path]) -> dict[str, RunScores]:
    """The runs in some scores.parquet files, by run id.

    Raises:
        InputError: a file is absent, is not parquet, lacks a column, or two files hold the same run.
    """
    runs: dict[str, RunScores] = {}
    for path in paths:
        table = _read(Path(path))
        metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        for run in table["run"].unique().to_pylist():
            if run in runs:
                raise InputError(f"two score files hold run {run!r}", where=path, remedy="name each run's file once")
            part = table.filter(pa.compute.equal(table["run"], run))
            runs[run] = RunScores(run, part, metadata.get("config_digest", ""), metadata.get("code_version", ""))
    return runs


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise InputError("a score file is missing", where=path, remedy="run `python -m benchmark score` for this run")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"not a readable parquet file: {error}", where=path, remedy="score the run again") from None
    absent = [name for name in COLUMNS if name not in table.column_names]
    if absent:
        raise InputError("a score file lacks columns", where=path, expected=COLUMNS, found=table.column_names)
    return table
