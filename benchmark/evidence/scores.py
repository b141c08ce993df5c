"""Reading scores.parquet: the scores of one run as a matrix of cases and classes, and how often it failed.

`benchmark.scoring.aggregate` answers the same for one data frame; here the matrix is kept, because intervals and tests
resample its cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import compute

from benchmark.errors import InputError
from benchmark.evidence.resampling import row_means
from benchmark.files import file_digest
from benchmark.scoring.aggregate import COLUMNS, SCHEMA, Rates, failure_rates
from benchmark.scoring.conventions import INSTANCE_METRICS, OVERLAP_METRICS

SHARES = (*OVERLAP_METRICS, *INSTANCE_METRICS, "nsd")  # metrics that lie between 0 and 1


@dataclass(frozen=True)
class ScoreMatrix:
    """Scores of one metric and convention of one run.

    Attributes:
        values: [cases, classes]; NaN where the convention leaves a score out.
        cases, classes: their names, in the order of `values`; cases are sorted.
        missing: cases without a prediction, whatever they score.
    """

    values: NDArray[np.float64]
    cases: tuple[str, ...]
    classes: tuple[str, ...]
    missing: frozenset[str] = frozenset()

    @property
    def left_out(self) -> frozenset[str]:
        """Cases without a prediction that the convention gives no value: the mean is over the others alone."""
        valued = ~np.all(np.isnan(self.values), axis=1)
        return self.missing - {case for case, has_value in zip(self.cases, valued, strict=True) if has_value}

    def restricted(self, classes: Sequence[str] | None, *, where: str = "") -> ScoreMatrix:
        """Only the named classes (None: all). Raises InputError naming a class that was not scored, and `where`."""
        if classes is None:
            return self
        missing = [name for name in classes if name not in self.classes]
        if missing:
            raise InputError(
                "a label group names structures that the scores do not have",
                where=where or None,
                found=", ".join(missing[:5]),
                expected="structures of the scored dataset",
                remedy="score with the labels of this dataset, or correct the group",
            )
        columns = [self.classes.index(name) for name in classes]
        return replace(self, values=self.values[:, columns], classes=tuple(classes))

    def as_case_means(self, decimals: int) -> ScoreMatrix:
        """One column, the rounded mean over classes of each case: for conventions that round before averaging cases."""
        means = row_means(self.values)
        return replace(self, values=np.round(means, decimals)[:, None], classes=("mean",))


@dataclass(frozen=True, eq=False)
class RunScores:
    """Everything scored of one run, with the provenance written in the file's metadata.

    Attributes:
        scale: of the run that predicted; empty where the file does not say.
        chain: what scores, predictions and weights were made of, as JSON; empty for scores that were handed in.
        handed_in: digest of the label maps or the score file that somebody else made; empty for this workflow's own.
    """

    run: str
    table: pa.Table
    config_digest: str
    code_version: str
    scale: str = ""
    chain: str = ""
    handed_in: str = ""
    _matrices: dict[tuple[str, str], ScoreMatrix | None] = field(default_factory=dict, repr=False)

    def matrix(self, metric: str, convention: str) -> ScoreMatrix | None:
        """Scores of `metric` under `convention`; None if it was not scored.

        Raises:
            InputError: a (case, class) pair stands twice.
        """
        key = (metric, convention)
        if key not in self._matrices:
            self._matrices[key] = self._matrix(*key)
        return self._matrices[key]

    def rates(self, metric: str, convention: str) -> Rates:
        """How often the run failed, whatever the convention makes of it."""
        return failure_rates(self._chosen(metric, convention).to_pandas())

    def _chosen(self, metric: str, convention: str) -> pa.Table:
        wanted = compute.and_(
            compute.equal(self.table["metric"], metric), compute.equal(self.table["convention"], convention)
        )
        return self.table.filter(wanted)

    def _matrix(self, metric: str, convention: str) -> ScoreMatrix | None:
        chosen = self._chosen(metric, convention)
        if chosen.num_rows == 0:
            return None
        cases, row = _codes(chosen["case"])
        classes, column = _codes(chosen["class"])  # classes stay in the order of the labels, not of the alphabet
        if len(np.unique(row * len(classes) + column)) < len(row):
            raise InputError("a case and class is scored twice", where=self.run, found=f"{metric}, {convention}")
        values = np.full((len(cases), len(classes)), np.nan)
        values[row, column] = chosen["value"].to_numpy()
        order = np.argsort(np.array(cases), kind="stable")
        lost = chosen.filter(compute.equal(chosen["status"], "missing_prediction"))["case"]
        return ScoreMatrix(
            values[order], tuple(cases[index] for index in order), tuple(classes), frozenset(lost.to_pylist())
        )


def _codes(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """Distinct strings of a column in order of appearance, and the number of each entry's."""
    encoded = column.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)


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
            part = table.filter(compute.equal(table["run"], run))
            runs[run] = RunScores(
                run,
                part,
                config_digest=metadata.get("config_digest", ""),
                code_version=metadata.get("code_version", ""),
                scale=metadata.get("scale", ""),
                chain=metadata.get("chain", ""),
                handed_in=metadata.get("handed_in", ""),
            )
    return runs


def read_handed_in(run: str, path: str | Path) -> RunScores:
    """The scores of one run in a file that somebody else made; a file of one run may call it by any name.

    Raises:
        InputError: as `read_scores`, or the file holds several runs and not this one.
    """
    found = read_scores([path])
    if run not in found and len(found) != 1:
        raise InputError(
            "a score file does not hold the run that it was handed in for",
            where=path,
            expected=f"{run}, or one run under any name",
            found=", ".join(sorted(found)) or "no scores",
        )
    scores = found.get(run) or next(iter(found.values()))
    return replace(scores, run=run, handed_in=file_digest(path), _matrices={})


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        remedy = "name the scores.parquet that `retable score` wrote for each run"
        raise InputError("a score file is missing", where=path, expected="a file", found=found, remedy=remedy)
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"not a readable parquet file: {error}", where=path, remedy="score the run again") from None
    absent = [name for name in COLUMNS if name not in table.column_names]
    if absent:
        raise InputError("a score file lacks columns", where=path, expected=COLUMNS, found=table.column_names)
    return _checked(table.select(COLUMNS), path)


def _checked(table: pa.Table, path: Path) -> pa.Table:
    """The table, with the types that scoring writes; shares lie between 0 and 1, whatever unit a paper prints them in.

    Raises:
        InputError: another type, an empty name, or a share out of bounds.
    """
    try:
        table = table.cast(SCHEMA.with_metadata(table.schema.metadata))
    except pa.ArrowInvalid as error:
        raise InputError("a column of a score file has another type", where=path, found=error) from None
    names = [name for name in COLUMNS if name != "value" and table[name].null_count]
    if names:
        raise InputError("a score file has rows without a name", where=path, found=", ".join(names))
    shares = table.filter(compute.is_in(table["metric"], pa.array(SHARES)))["value"].to_numpy()
    outside = shares[(shares < 0) | (shares > 1 + 1e-9)]
    if len(outside):
        raise InputError(
            "a share is out of bounds",
            where=path,
            expected="values from 0 to 1, not in percent",
            found=f"{len(outside)} values, such as {outside[0]:g}",
        )
    return table
