"""`python -m benchmark score`: score a folder of predictions against a folder of references."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmark.errors import InputError
from benchmark.progress import say
from benchmark.scoring.aggregate import Summary, format_value, read_scores, summaries
from benchmark.scoring.cases import choose_metrics, spacing_of
from benchmark.scoring.conventions import BUILT_IN, Convention, get_convention, load_conventions
from benchmark.scoring.folders import CaseFiles, pair_cases, read_label_names, score_folders
from benchmark.scoring.images import LabelMap, read_geometry

COMPARED_METRICS = ("dsc", "nsd", "hd95")  # what `--convention all` compares unless --metrics says otherwise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reference", type=Path, required=True, help="folder of NIfTI / PNG / TIFF label maps")
    parser.add_argument("--prediction", type=Path, required=True, help="folder of label maps with the same file names")
    parser.add_argument("--labels", type=Path, required=True, help='{"1": "liver", …}, JSON or YAML, or dataset.json')
    parser.add_argument("--convention", required=True, help="name of a scoring convention, or all to compare them")
    parser.add_argument("--conventions-file", type=Path, default=BUILT_IN, help="your own conventions.yaml")
    parser.add_argument("--metrics", nargs="+", metavar="METRIC", help="default: all that the convention defines")
    parser.add_argument(
        "--instance-maps", action="store_true", help="predictions are instance maps: for f1, every value is one cell"
    )
    parser.add_argument("--out", type=Path, help="scores.parquet to write")
    parser.add_argument("--run", help="run id written to every row; default: name of the prediction folder")
    parser.add_argument("--processes", type=int, help="worker processes; default: the cores of this job")


def main(arguments: argparse.Namespace) -> int | None:
    labels = read_label_names(arguments.labels)
    cases = pair_cases(arguments.reference, arguments.prediction)
    compare = arguments.convention == "all"
    metrics = arguments.metrics
    if compare:
        metrics = metrics or COMPARED_METRICS
        conventions = applicable(load_conventions(arguments.conventions_file).values(), metrics, labels, cases)
    else:
        conventions = [get_convention(arguments.convention, file=arguments.conventions_file)]
        choose_metrics(conventions[0], metrics)
    if arguments.instance_maps:
        conventions = [take_instance_maps(convention) for convention in conventions]
    with tempfile.TemporaryDirectory() as folder:
        out = arguments.out or Path(folder) / "scores.parquet"
        score_folders(
            cases,
            out,
            labels=labels,
            conventions=conventions,
            run=arguments.run or arguments.prediction.resolve().name,
            metrics=metrics,
            processes=arguments.processes,
        )
        table = summary_table(out, conventions)
    print(comparison(table) if compare else details(table))
    return None


def take_instance_maps(convention: Convention) -> Convention:
    """The convention for predictions that need no decoding of instances."""
    if convention.instances is None:
        return convention
    return convention.model_copy(update={"instances": convention.instances.model_copy(update={"decoding": "labels"})})


def applicable(
    conventions: Sequence[Convention], metrics: Sequence[str], labels: Mapping[int, str], cases: Sequence[CaseFiles]
) -> list[Convention]:
    """The conventions that can score these cases with at least one of the metrics, each cut down to what it can score.

    Says which are left out and why: no tolerance for a class, a spacing for another number of axes, a grid that is not
    known.

    Raises:
        InputError: a metric that none of the conventions defines, or none that these cases can be scored by.
    """
    geometry = read_geometry(cases[0].reference)
    sample = LabelMap(array=np.empty(geometry.shape, np.bool_), geometry=geometry)
    conventions, usable = list(conventions), []
    choose_metrics(conventions[0], metrics, conventions)
    for convention in conventions:
        if convention.grid == "network" and cases[0].network is None:
            say(f"{convention.name} left out: it is not known how large the network sees the cases")
            continue
        rules = {metric: rule for metric, rule in convention.rules.items() if metric in metrics}
        try:
            spacing_of(convention, sample)
            if "nsd" in rules:
                for name in labels.values():
                    convention.tolerance(name, planar=len(geometry.shape) == 2)
        except InputError as reason:
            if "nsd" not in rules or "tolerance" not in reason.problem:
                say(f"{convention.name} left out: {reason.problem}")
                continue
            say(f"{convention.name} without nsd: {reason.problem}")
            del rules["nsd"]
        if rules:
            usable.append(convention.model_copy(update={"rules": rules}))
    if not usable:
        raise InputError("No convention defines any of these metrics", found=", ".join(metrics))
    choose_metrics(usable[0], metrics, usable)
    return usable


def summary_table(path: Path, conventions: Sequence[Convention]) -> list[tuple[str, str, Summary]]:
    """(convention, metric, summary) of every convention in a file of scores of one run, one convention at a time."""
    table: list[tuple[str, str, Summary]] = []
    for convention in conventions:
        table += summaries(read_scores(path, convention=convention.name), [convention])
    return table


def details(table: Sequence[tuple[str, str, Summary]]) -> str:
    """One line per metric: mean ± deviation, what it is a mean of, and the rates of failure."""
    lines = ["convention          metric       mean ± sd          cases classes  missing   missed  false positive"]
    for convention, metric, summary in table:
        rates = (summary.rates.missing, summary.rates.missed, summary.rates.false_positive)
        shares = "".join("       - " if np.isnan(rate) else f" {rate:8.2%}" for rate in rates)
        spread = f"{format_value(summary.mean)} ± {format_value(summary.deviation)}"
        line = f"{convention:<20}{metric:<12} {spread:<18} {summary.cases:>5} {summary.classes:>7}{shares}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def comparison(table: Sequence[tuple[str, str, Summary]]) -> str:
    """Markdown table of the means, conventions × metrics, and by how much each metric depends on the convention."""
    metrics = list(dict.fromkeys(metric for _, metric, _ in table))
    means = {(convention, metric): summary.mean for convention, metric, summary in table}
    lines = ["| convention | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    for convention in dict.fromkeys(convention for convention, _, _ in table):
        cells = [format_value(means.get((convention, metric), np.nan)) for metric in metrics]
        lines.append(f"| {convention} | " + " | ".join(cells) + " |")
    ranges = []
    for metric in metrics:
        values = [mean for (_, name), mean in means.items() if name == metric and np.isfinite(mean)]
        ranges.append(format_value(max(values) - min(values)) if values else "-")
    return "\n".join([*lines, "| **largest − smallest** | " + " | ".join(ranges) + " |"])
