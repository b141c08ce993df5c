"""`python -m benchmark score`: score a folder of predictions against a folder of references."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from benchmark.errors import InputError
from benchmark.files import atomic_path
from benchmark.images.label_names import read_labels_file, with_ignore
from benchmark.progress import say
from benchmark.scoring.aggregate import Summary, format_value, read_scores, summaries
from benchmark.scoring.cases import choose_metrics, counts_pixels, spacing_of
from benchmark.scoring.conventions import BUILT_IN, Convention, get_convention, load_conventions
from benchmark.scoring.folders import CaseFiles, pair_cases, score_folders
from benchmark.scoring.images import Geometry, LabelMap, read_geometry

COMPARED_METRICS = ("dsc", "nsd", "hd95")  # what `--convention all` compares unless --metrics says otherwise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reference", type=Path, required=True, help="folder of NIfTI / PNG / TIFF label maps")
    parser.add_argument("--prediction", type=Path, required=True, help="folder of label maps with the same file names")
    parser.add_argument("--labels", type=Path, required=True, help='{"1": "liver", …}, JSON or YAML, or dataset.json')
    parser.add_argument(
        "--ignore-label", type=int, help="value of voxels that nobody labelled (default: `ignore` of dataset.json)"
    )
    parser.add_argument("--convention", required=True, help="name of a scoring convention, or all to compare them")
    parser.add_argument("--conventions-file", type=Path, default=BUILT_IN, help="your own conventions.yaml")
    parser.add_argument("--metrics", nargs="+", metavar="METRIC", help="default: all that the convention defines")
    parser.add_argument(
        "--instance-maps", action="store_true", help="predictions are instance maps: for f1, every value is one cell"
    )
    parser.add_argument("--out", type=Path, help="scores.parquet to write, or scores.csv")
    parser.add_argument("--run", help="run id written to every row; default: name of the prediction folder")
    parser.add_argument("--processes", type=int, help="worker processes; default: the cores of this job")


def main(arguments: argparse.Namespace) -> int | None:
    check_out(arguments.out)
    names = with_ignore(read_labels_file(arguments.labels), arguments.ignore_label, where=arguments.labels)
    labels = names.names
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
        as_csv = arguments.out is not None and arguments.out.suffix.lower() == ".csv"
        out = arguments.out if arguments.out and not as_csv else Path(folder) / "scores.parquet"
        score_folders(
            cases,
            out,
            labels=labels,
            ignore=names.ignore,
            conventions=conventions,
            run=arguments.run or arguments.prediction.resolve().name,
            metrics=metrics,
            processes=arguments.processes,
        )
        table = summary_table(out, conventions)
        if as_csv:
            write_csv(out, arguments.out)
    print(comparison(table) if compare else details(table))
    return None


def check_out(out: Path | None) -> None:
    """The suffix says what is written.

    Raises:
        InputError: it is none that scores are written as.
    """
    if out is not None and out.suffix.lower() not in (".parquet", ".csv"):
        raise InputError("scores are written as Parquet or CSV", where=out, expected=".parquet or .csv")


def write_csv(scores: Path, out: Path) -> None:
    """The rows of a Parquet file of scores as CSV, a row group at a time; no value is an empty field."""
    rows = pq.ParquetFile(scores)
    with atomic_path(out) as temporary, csv.CSVWriter(temporary, rows.schema_arrow) as writer:
        for batch in rows.iter_batches():
            values = batch.column("value")
            empty = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
            writer.write_batch(batch.set_column(batch.schema.get_field_index("value"), "value", empty))


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
