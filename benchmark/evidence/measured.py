"""The rebuilt value of a cell, with its interval and noise band, from what the cell rests on; or why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from benchmark.catalog.published import UNITS, Published
from benchmark.catalog.targets import Column
from benchmark.evidence.noise import band_of, with_interval
from benchmark.evidence.resampling import Order, average, row_means
from benchmark.evidence.scores import RunScores, ScoreMatrix
from benchmark.evidence.verdict import Band, Mode, Rebuilt

DEMO = "demo scale"


@dataclass(frozen=True)
class CellSource:
    """What a cell rests on, resolved from the catalog.

    Attributes:
        runs: run ids, one per seed (and fold); empty for rows of printed text.
        folds: fold → its runs, of a cross-validation; its value is the mean over folds of the mean over seeds.
        without_scores: why there may be no scores of the runs.
        dataset, convention, order: what is scored and how it is averaged.
        classes: structures averaged; None for all scored ones.
        case_decimals: decimals to which the convention rounds each case's mean over classes; None: not at all.
        test_cases: the published test set; the noise of sampling cases does not arise if exactly these are scored.
        setting: value of a column that prints a setting (number of experts) or a dataset size.
        words: the same where it is no number (a crop size, 2D).
        reading: how the ledger explains the printed value where it differs.
        told: whether the network is told a point of every structure that the reference shows in a slice.
    """

    runs: tuple[str, ...] = ()
    folds: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    without_scores: str = "not run"
    dataset: str = ""
    convention: str = ""
    order: Order = "classes_then_cases"
    classes: tuple[str, ...] | None = None
    case_decimals: int | None = None
    test_cases: frozenset[str] = frozenset()
    setting: float | None = None
    words: str = ""
    reading: str = ""
    told: bool = False

    @property
    def protocol(self) -> str:
        """`<paper>/<protocol>` of the runs; empty without runs. Of a cross-validation, that of its first fold."""
        return "/".join(self.runs[0].split("/")[:2]) if self.runs else ""

    @property
    def by_fold(self) -> dict[int, CellSource]:
        """Fold → the source of what is tested on it alone; empty where there are no folds."""
        return {fold: replace(self, runs=runs, folds={}) for fold, runs in self.folds.items()}


@dataclass(frozen=True)
class Evidence:
    """The files a table is built from, read.

    Attributes:
        scale: `paper`, `pilot` or `demo`.
        share: of the steps that a pilot trains.
        scores: run id → scores.
        outdated: run id → what has changed since its scores were made, which are not shown.
        absent: run id → why it has no scores although they were to be made elsewhere.
        cost: run id → counted quantities (`parameters`, `flops`).
        latency: run id → (seconds, machine).
        training_time: run id → seconds of the trainings behind it.
        contradictions: (row, column) → where the paper contradicts the cell.
    """

    scale: str = "paper"
    share: float = 1.0
    outdated: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, RunScores] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    cost: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    latency: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    training_time: Mapping[str, float] = field(default_factory=dict)
    contradictions: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """What was rebuilt of a cell, in the printed unit, before it is judged."""

    mode: Mode = "count"
    rebuilt: Rebuilt | None = None
    interval_over: str = ""
    spread: float = math.nan
    cases: int | None = None
    band: Band | None = None
    not_attempted: str = ""
    not_comparable: str = ""
    words: str = ""


def measure(column: Column, source: CellSource, evidence: Evidence, published: Published) -> Measured:
    """The rebuilt value of a cell, or why there is none."""
    unit = UNITS[column.unit]
    if column.measure == "text":
        return Measured(not_attempted="a description")
    if column.measure == "training_time":
        return _training_time(source, evidence, unit)
    if source.words:
        return Measured(words=source.words)
    if column.measure in ("option", "setting", "cases"):
        reason = "a description" if published.kind == "text" else "not a setting of this row"
        return _count(source.setting, 1.0, reason)
    if not source.runs:
        return Measured(not_attempted="nothing to run for this row")
    if column.measure in ("parameters", "parameters_added", "flops"):
        counted = evidence.cost.get(source.runs[0], {}).get(column.measure)
        return _count(counted, unit, "not counted")
    absent = next((evidence.absent[run] for run in source.runs if run in evidence.absent), "")
    if column.measure == "score" and absent and not any(run in evidence.scores for run in source.runs):
        return Measured(not_attempted=absent)
    if column.measure == "latency":
        return _latency(evidence.latency.get(source.runs[0]), unit)
    return _score(column, source, evidence, published)


def _count(value: float | None, unit: float, reason: str) -> Measured:
    if value is None or math.isnan(value):
        return Measured(not_attempted=reason)
    return Measured(mode="count", rebuilt=Rebuilt.point(value / unit))


def _latency(found: tuple[float, str] | None, unit: float) -> Measured:
    if found is None:
        return Measured(not_attempted="no GPU")
    seconds, machine = found
    return Measured(mode="score", rebuilt=Rebuilt.point(seconds / unit), not_comparable=f"measured on {machine}")


def _training_time(source: CellSource, evidence: Evidence, unit: float) -> Measured:
    seconds = evidence.training_time.get(source.runs[0]) if source.runs else None
    if seconds is None:
        return Measured(not_attempted="not trained")
    scale = {"demo": DEMO, "pilot": f"{evidence.share:.0%} of the steps"}.get(evidence.scale, "measured on our machine")
    return Measured(mode="score", rebuilt=Rebuilt.point(seconds / unit), not_comparable=scale)


def _score(column: Column, source: CellSource, evidence: Evidence, published: Published) -> Measured:
    if not any(run in evidence.scores for run in source.runs):
        outdated = next((evidence.outdated[run] for run in source.runs if run in evidence.outdated), "")
        reason = f"made with other settings: {outdated}" if outdated else source.without_scores
        return Measured(mode="score", not_attempted=reason)
    matrices = matrices_of(source, str(column.metric), evidence)
    if not matrices:
        return Measured(mode="score", not_attempted=f"not scored: {column.metric} under {source.convention}")
    unit = UNITS[column.unit]
    groups = [matrices_of(part, str(column.metric), evidence) for part in source.by_fold.values()]
    values = [
        float(np.mean([_statistic(matrix, column.statistic, source.order) for matrix in group])) / unit
        for group in groups or [[matrix] for matrix in matrices]
        if group
    ]
    per_case = np.array(list(case_scores(matrices).values()))
    present = per_case[~np.isnan(per_case)]
    rebuilt, over = with_interval(
        values, matrices, order=source.order, statistic=column.statistic, test_cases=source.test_cases, unit=unit
    )
    return Measured(
        mode="score",
        rebuilt=rebuilt,
        interval_over=over.replace("seeds", "folds") if source.folds else over,
        spread=float(present.std(ddof=1) / unit) if len(present) > 1 and np.isfinite(present).all() else math.nan,
        cases=len(present),
        band=band_of(
            () if source.folds else values,
            published,
            cases=len(present),
            dataset=source.dataset,
            metric=str(column.metric),
            unit=unit,
        ),
        not_comparable=_not_comparable(source, evidence, matrices),
    )


def _not_comparable(source: CellSource, evidence: Evidence, matrices: Sequence[ScoreMatrix]) -> str:
    """Why a score answers another question than the published one, or an empty string.

    A convention that leaves cases without a prediction out of the mean would let a run choose its own test set.
    """
    scales = {evidence.scores[run].scale for run in source.runs if run in evidence.scores}
    if evidence.scale == "demo" or "demo" in scales:
        return DEMO
    if evidence.scale == "pilot" or "pilot" in scales:
        return f"{evidence.share:.0%} of the steps"
    scored = [fold for fold, runs in source.folds.items() if any(run in evidence.scores for run in runs)]
    if len(scored) < len(source.folds):
        return f"{len(scored)} of {len(source.folds)} folds"
    worst = max(matrices, key=lambda matrix: len(matrix.left_out))
    lost = len(worst.left_out)
    return f"no prediction of {lost} of {len(worst.cases)} cases" if lost else ""


def matrices_of(source: CellSource, metric: str, evidence: Evidence) -> list[ScoreMatrix]:
    """Scores of every seed that has been run, restricted to the cell's structures, rounded as the convention does."""
    found = {
        run: evidence.scores[run].matrix(metric, source.convention) for run in source.runs if run in evidence.scores
    }
    matrices = [matrix.restricted(source.classes, where=run) for run, matrix in found.items() if matrix is not None]
    if source.case_decimals is None:
        return matrices
    return [matrix.as_case_means(source.case_decimals) for matrix in matrices]


def case_scores(matrices: Sequence[ScoreMatrix]) -> dict[str, float]:
    """Mean over classes of each case, averaged over the seeds that scored it; NaN where no class was scored."""
    cases = sorted({case for matrix in matrices for case in matrix.cases})
    row_of = {case: row for row, case in enumerate(cases)}
    by_seed = np.full((len(cases), len(matrices)), math.nan)
    for seed, matrix in enumerate(matrices):
        by_seed[[row_of[case] for case in matrix.cases], seed] = row_means(matrix.values)
    return dict(zip(cases, row_means(by_seed).tolist(), strict=True))


def _statistic(matrix: ScoreMatrix, statistic: str, order: Order) -> float:
    if statistic == "mean":
        return average(matrix.values, order)
    means = np.array(list(case_scores([matrix]).values()))
    means = means[~np.isnan(means)]
    if statistic == "median":
        return float(np.median(means)) if len(means) else math.nan
    return float(means.std(ddof=1)) if len(means) > 1 and np.isfinite(means).all() else math.nan
