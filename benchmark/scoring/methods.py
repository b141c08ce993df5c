"""Several methods on the same cases: means, ranks, paired differences, what a convention does to each, a box plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from benchmark.files import atomic_path
from benchmark.markdown import aligned
from benchmark.scoring.aggregate import Summary, case_values, format_value, read_scores, score_table, summarise
from benchmark.scoring.conventions import DISTANCE_METRICS, Convention

LEVEL = 0.95


@dataclass(frozen=True)
class Compared:
    """One metric under one convention for several methods.

    Attributes:
        summaries: method → its mean and what belongs beside it.
        cases: mean over classes of every case, cases × methods; NaN where a case has no value.
        lower_is_better: of distances.
    """

    metric: str
    convention: str
    summaries: Mapping[str, Summary]
    cases: pd.DataFrame
    lower_is_better: bool

    @property
    def common(self) -> pd.DataFrame:
        """The cases to which every method has a value."""
        return self.cases.dropna()

    @property
    def mean_ranks(self) -> pd.Series:
        """Method → its mean rank over the common cases, 1 is best; ties share the mean of their places."""
        return self.common.rank(axis=1, ascending=self.lower_is_better).mean()

    @property
    def places(self) -> pd.Series:
        """Method → its place by the mean, 1 is best; NaN where it has none."""
        means = pd.Series({method: summary.mean for method, summary in self.summaries.items()})
        return means.rank(ascending=self.lower_is_better, method="min")


def compare_methods(scores: Mapping[str, Path], conventions: Sequence[Convention]) -> list[Compared]:
    """Every metric under every convention.

    Args:
        scores: method → Parquet file of its scores, all of the same cases.
        conventions: those that the files were scored under, in the order of the result.
    """
    found = []
    for convention in conventions:
        frames = {method: read_scores(path, convention=convention.name) for method, path in scores.items()}
        first = next(iter(frames.values()))
        for metric in first["metric"].unique():
            if metric.split("@")[0] in convention.rules:
                found.append(_compared(frames, metric, convention))
    return found


def _compared(frames: Mapping[str, pd.DataFrame], metric: str, convention: Convention) -> Compared:
    values = {
        method: case_values(score_table(frame, metric=metric, convention=convention), convention=convention)
        for method, frame in frames.items()
    }
    return Compared(
        metric=metric,
        convention=convention.name,
        summaries={method: summarise(frame, metric=metric, convention=convention) for method, frame in frames.items()},
        cases=pd.DataFrame(values),
        lower_is_better=metric.split("@")[0] in DISTANCE_METRICS,
    )


def paired_difference(own: pd.Series, other: pd.Series) -> tuple[float, float, float, int]:
    """Mean of `other` − `own` over the cases that both have, its 95 % interval by Student's t, and their number.

    The ends are NaN for fewer than two pairs, and wherever a difference is not finite.
    """
    differences = (other - own).dropna()
    count = len(differences)
    mean = float(differences.mean()) if count else np.nan
    if count < 2 or not np.isfinite(differences).all():
        return mean, np.nan, np.nan, count
    half = float(stats.t.ppf((1 + LEVEL) / 2, count - 1) * differences.std(ddof=1) / np.sqrt(count))
    return mean, mean - half, mean + half, count


def methods_table(compared: Compared) -> str:
    """Markdown: a line per method with mean ± deviation, cases, mean rank, and the paired difference from the first."""
    first = next(iter(compared.summaries))
    header = ["method", "mean ± sd", "cases", "mean rank", f"difference from {first}", "95 % interval", "pairs"]
    rows = [header]
    ranks = compared.mean_ranks
    for method, summary in compared.summaries.items():
        spread = f"{format_value(summary.mean)} ± {format_value(summary.deviation)}"
        row = [method, spread, str(summary.cases), "-" if np.isnan(ranks[method]) else f"{ranks[method]:.2f}"]
        if method == first:
            rows.append([*row, "", "", ""])
            continue
        mean, lower, upper, pairs = paired_difference(compared.cases[first], compared.cases[method])
        interval = "-" if np.isnan(lower) else f"{lower:+.4f} to {upper:+.4f}"
        rows.append([*row, "-" if np.isnan(mean) else f"{mean:+.4f}", interval, str(pairs)])
    title = f"{compared.metric} under {compared.convention}, ranks over {len(compared.common)} common cases"
    return f"{title}\n\n{aligned(rows)}"


def conventions_table(metric: str, compared: Sequence[Compared]) -> str:
    """Markdown: conventions × methods, each mean with its place, and how far the convention moves each method."""
    methods = list(compared[0].summaries)
    rows = [[f"{metric} by convention", *methods]]
    for one in compared:
        places = one.places
        means = {method: one.summaries[method].mean for method in methods}
        rows.append([one.convention, *(_placed(means[method], places[method]) for method in methods)])
    moved = []
    for method in methods:
        finite = [one.summaries[method].mean for one in compared if np.isfinite(one.summaries[method].mean)]
        moved.append(format_value(max(finite) - min(finite)) if finite else "-")
    return aligned([*rows, ["**largest − smallest**", *moved]])


def _placed(mean: float, place: float) -> str:
    return "-" if np.isnan(mean) else f"{mean:.4f} ({place:.0f})"


def per_case(compared: Compared) -> str:
    """Markdown: cases × methods, the mean over classes of each case."""
    lines = zip(compared.cases.index, compared.cases.to_numpy(), strict=True)
    rows = [[case, *map(format_value, values)] for case, values in lines]
    return aligned([[f"{compared.metric}, {compared.convention}", *compared.cases.columns], *rows])


def per_class(scores: Mapping[str, Path], metric: str, convention: Convention) -> str:
    """Markdown: classes × methods, the mean of each class over the cases to which the convention gives a value."""
    tables = {
        method: score_table(read_scores(path, convention=convention.name), metric=metric, convention=convention)
        for method, path in scores.items()
    }
    classes = list(dict.fromkeys(name for table in tables.values() for name in table.columns))
    means = {method: table.mean(axis=0).reindex(classes) for method, table in tables.items()}
    rows = [[name, *(format_value(means[method][name]) for method in tables)] for name in classes]
    return aligned([[f"{metric}, {convention.name}", *tables], *rows])


def draw_boxes(compared: Sequence[Compared], out: Path) -> None:
    """A box per method, each case a dot, a panel per metric and convention; in the format that `out` ends in."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    methods = list(compared[0].summaries)
    figure = Figure(figsize=(max(3.0, 1.1 * len(methods)) * len(compared), 3.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(compared)))
    for axis, one in zip(axes, compared, strict=True):
        values = [one.cases[method].replace([np.inf, -np.inf], np.nan).dropna().to_numpy() for method in methods]
        axis.boxplot(values, tick_labels=methods, showfliers=False, medianprops={"color": "black"})
        for place, column in enumerate(values, start=1):
            spread = np.linspace(-0.15, 0.15, len(column)) if len(column) > 1 else np.zeros(len(column))
            axis.plot(place + spread, column, ".", alpha=0.5, markersize=4)
        axis.set_title(f"{one.metric}, {one.convention}", fontsize=9)
        axis.tick_params(axis="x", rotation=30)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format=out.suffix.lstrip(".").lower())
