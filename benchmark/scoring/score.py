"""`retable score`: score folders of predictions against a folder of references, and compare them."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmark.errors import InputError
from benchmark.progress import say
from benchmark.scoring.aggregate import Summary, format_value, read_scores, summaries
from benchmark.scoring.cases import choose_metrics, counts_pixels, spacing_of
from benchmark.scoring.conventions import BUILT_IN, CANONICAL, Convention, get_convention, load_conventions
from benchmark.scoring.folders import score_folders
from benchmark.scoring.images import Geometry, LabelMap, read_geometry
from benchmark.scoring.inputs import label_names, method_names, places_of
from benchmark.scoring.methods import (
    compare_methods,
    conventions_table,
    draw_boxes,
    methods_table,
    per_case,
    per_class,
)
from benchmark.scoring.outputs import check_out, write_scores
from benchmark.scoring.pairs import CaseFiles, pair_cases

PLOTS = (".svg", ".pdf", ".png")
COMPARED_METRICS = ("dsc", "nsd", "hd95")  # what `--convention all` compares unless --metrics says otherwise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "maps",
        type=Path,
        nargs="*",
        metavar="MAPS",
        help="references and predictions: two folders of label maps with the same names, or two files; further "
        "predictions are compared as methods, with the first",
    )
    parser.add_argument("--reference", type=Path, help="the references, where they do not stand first")
    parser.add_argument("--prediction", type=Path, nargs="+", metavar="MAPS", help="the predictions, likewise")
    parser.add_argument(
        "--labels",
        type=Path,
        help='{"1": "liver", …}, JSON or YAML, or dataset.json; default: dataset.json in or beside the references',
    )
    parser.add_argument(
        "--ignore-label", type=int, help="value of voxels that nobody labelled (default: `ignore` of dataset.json)"
    )
    parser.add_argument(
        "--convention", default=CANONICAL, help="scoring convention, or all to compare them (%(default)s)"
    )
    parser.add_argument("--conventions-file", type=Path, default=BUILT_IN, help="your own conventions.yaml")
    parser.add_argument("--metrics", nargs="+", metavar="METRIC", help="default: all that the convention defines")
    parser.add_argument(
        "--instance-maps", action="store_true", help="predictions are instance maps: for f1, every value is one cell"
    )
    parser.add_argument("--out", type=Path, help="scores.parquet, scores.csv or scores.json to write")
    parser.add_argument("--per-case", action="store_true", help="print the mean over classes of every case as well")
    parser.add_argument("--per-class", action="store_true", help="print the mean of every class as well")
    parser.add_argument("--plot", type=Path, help="box plot over the cases to write: .svg, .pdf or .png")
    parser.add_argument(
        "--run", nargs="+", metavar="NAME", help="written to every row, one per folder; default: the folders' names"
    )
    parser.add_argument("--processes", type=int, help="worker processes; default: the cores of this job")


def main(arguments: argparse.Namespace) -> int | None:
    check_out(arguments.out)
    check_plot(arguments.plot)
    reference, predictions = places_of(arguments.maps, arguments.reference, arguments.prediction)
    methods = method_names(predictions, arguments.run)
    cases = {method: pair_cases(reference, place) for method, place in zip(methods, predictions, strict=True)}
    names = label_names(reference, arguments.labels, arguments.ignore_label)
    conventions, metrics = chosen_conventions(arguments, names.names, next(iter(cases.values())))
    with tempfile.TemporaryDirectory() as folder:
        scores = {}
        for number, (method, files) in enumerate(cases.items()):
            scores[method] = Path(folder) / f"{number}.parquet"
            score_folders(
                files,
                scores[method],
                labels=names.names,
                ignore=names.ignore,
                conventions=conventions,
                run=method,
                metrics=metrics,
                processes=arguments.processes,
            )
        if arguments.out is not None:
            write_scores(list(scores.values()), arguments.out)
        print("\n\n".join(report(arguments, scores, conventions)))
    return None


def check_plot(path: Path | None) -> None:
    """Raise InputError unless a plot is asked for in a format that is drawn."""
    if path is not None and path.suffix.lower() not in PLOTS:
        raise InputError("box plots are drawn in other formats", where=path, expected=" or ".join(PLOTS))


def chosen_conventions(
    arguments: argparse.Namespace, labels: Mapping[int, str], cases: Sequence[CaseFiles]
) -> tuple[list[Convention], Sequence[str] | None]:
    """The conventions and metrics of the command line; for `all`, every convention that these cases can be scored by.

    Raises:
        InputError: a convention or a metric does not exist, or none applies.
    """
    metrics = arguments.metrics
    if arguments.convention == "all":
        metrics = metrics or COMPARED_METRICS
        conventions = applicable(list(load_conventions(arguments.conventions_file).values()), metrics, labels, cases)
    else:
        conventions = [get_convention(arguments.convention, file=arguments.conventions_file)]
        choose_metrics(conventions[0], metrics)
    if arguments.instance_maps:
        conventions = [take_instance_maps(convention) for convention in conventions]
    return conventions, metrics


def report(
    arguments: argparse.Namespace, scores: Mapping[str, Path], conventions: Sequence[Convention]
) -> Iterator[str]:
    """What is printed, part by part; the plot is written on the way."""
    every = arguments.convention == "all"
    if len(scores) == 1:
        table = summary_table(next(iter(scores.values())), conventions)
        yield comparison(table) if every else details(table)
    if len(scores) == 1 and not (arguments.per_case or arguments.per_class or arguments.plot):
        return
    compared = compare_methods(scores, conventions)
    metrics = list(dict.fromkeys(one.metric for one in compared))
    if len(scores) > 1:
        for metric in metrics if every else ():
            yield conventions_table(metric, [one for one in compared if one.metric == metric])
        yield from map(methods_table, () if every else compared)
    if arguments.per_case:
        yield from map(per_case, compared)
    if arguments.per_class:
        by_name = {convention.name: convention for convention in conventions}
        yield from (per_class(scores, one.metric, by_name[one.convention]) for one in compared)
    if arguments.plot is not None:
        draw_boxes(compared, arguments.plot)


def take_instance_maps(convention: Convention) -> Convention:
    """The convention for predictions that need no decoding of instances."""
    if convention.instances is None:
        return convention
    return convention.model_copy(update={"instances": convention.instances.model_copy(update={"decoding": "labels"})})


def applicable(
    conventions: Sequence[Convention], metrics: Sequence[str], labels: Mapping[int, str], cases: Sequence[CaseFiles]
) -> list[Convention]:
    """The conventions that can score these cases with at least one of the metrics, each cut down to what it can score.

    Says which are left out and why: no tolerance for a class, a spacing for another number of axes than one of the
    cases has, a grid that is not known.

    Raises:
        InputError: a metric that none of the conventions defines, or none that these cases can be scored by.
    """
    kinds = kinds_of_grid(cases)
    conventions, usable = list(conventions), []
    choose_metrics(conventions[0], metrics, conventions)
    for convention in conventions:
        if convention.grid == "network" and cases[0].network is None:
            say(f"{convention.name} left out: it is not known how large the network sees the cases")
            continue
        if convention.slices and cases[0].slice_axis is None and any(len(kind.shape) == 3 for kind in kinds.values()):
            say(f"{convention.name} left out: it is not known along which axis the slices of the cases lie")
            continue
        rules = {metric: rule for metric, rule in convention.rules.items() if metric in metrics}
        try:
            for case, geometry in kinds.items():
                _check_applies(convention, case, geometry, labels.values() if "nsd" in rules else ())
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


def kinds_of_grid(cases: Sequence[CaseFiles]) -> dict[str, Geometry]:
    """One case, with its geometry, for every kind of grid among the cases: volumes, slices of volumes, pictures."""
    kinds: dict[tuple[int, bool], tuple[str, Geometry]] = {}
    for files in cases:
        geometry = read_geometry(files.reference)
        kinds.setdefault((len(geometry.shape), geometry.is_picture), (files.case, geometry))
    return dict(kinds.values())


def _check_applies(convention: Convention, case: str, geometry: Geometry, classes: Iterable[str]) -> None:
    """Raise InputError where a convention has no spacing for a grid, or no tolerance for a class."""
    sample = LabelMap(array=np.empty(geometry.shape, np.bool_), geometry=geometry)
    try:
        spacing_of(convention, sample)
    except InputError as error:
        raise InputError(f"{error.problem}, which {case} of shape {geometry.shape} is not") from None
    for name in classes:
        convention.tolerance(name, planar=counts_pixels(convention, geometry))


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
    """Markdown table of the means, conventions × metrics, and by how much each metric depends on the convention.

    A mean over fewer cases than the largest of its column says over how many: it leaves out the cases to which its
    convention gives no value.
    """
    metrics = list(dict.fromkeys(metric for _, metric, _ in table))
    cells = {(convention, metric): summary for convention, metric, summary in table}
    most = {metric: max(summary.cases for _, name, summary in table if name == metric) for metric in metrics}
    lines = ["| convention | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    for convention in dict.fromkeys(convention for convention, _, _ in table):
        row = [_mean_and_cases(cells.get((convention, metric)), most[metric]) for metric in metrics]
        lines.append(f"| {convention} | " + " | ".join(row) + " |")
    ranges = []
    for metric in metrics:
        values = [summary.mean for _, name, summary in table if name == metric and np.isfinite(summary.mean)]
        ranges.append(format_value(max(values) - min(values)) if values else "-")
    return "\n".join([*lines, "| **largest − smallest** | " + " | ".join(ranges) + " |"])


def _mean_and_cases(summary: Summary | None, most: int) -> str:
    if summary is None or np.isnan(summary.mean):
        return "-"
    return format_value(summary.mean) + (f" ({summary.cases} of {most} cases)" if summary.cases < most else "")
