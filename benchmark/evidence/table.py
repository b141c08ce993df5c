"""`retable table TARGET`: score, cost and latency files to one rebuilt table beside the published one."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import get_args

from benchmark import lineage
from benchmark.catalog.arguments import (
    add_catalog_arguments,
    add_handed_in_argument,
    add_record_arguments,
    add_results_argument,
    catalog_of,
    results_of,
)
from benchmark.catalog.catalog import Catalog
from benchmark.catalog.targets import Target, Unit
from benchmark.errors import InputError
from benchmark.evidence.csv_files import compare_csv, table_csv
from benchmark.evidence.currency import scores_differ
from benchmark.evidence.markdown import table_markdown
from benchmark.evidence.measured import Evidence
from benchmark.evidence.rebuilt import Table, build_table
from benchmark.evidence.resolve import cell_sources
from benchmark.evidence.scores import RunScores, read_handed_in, read_scores
from benchmark.evidence.training_time import training_times
from benchmark.files import write_text
from benchmark.layout import Layout
from benchmark.progress import say
from benchmark.settings import Scale


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_file_arguments(parser)
    parser.add_argument("--cost", nargs="*", metavar="FILE", help="counted parameters and FLOPs")
    parser.add_argument(
        "--latency",
        nargs="*",
        metavar="FILE",
        help="measured times, default: measured/latency.*.csv, and over it what the workflow measured on this machine",
    )
    parser.add_argument(
        "--unit", choices=get_args(Unit), default="cases", help="what the tests of significance take as one score"
    )
    parser.add_argument("--controls", nargs="*", metavar="FILE", default=[], help="scores of control predictors")


def add_file_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that tables and figures share: the target, and where its files are."""
    parser.add_argument("target", help="a target of the catalog, e.g. table1_totalseg")
    add_catalog_arguments(parser)
    add_results_argument(parser)
    add_handed_in_argument(parser)
    add_record_arguments(parser)
    parser.add_argument("--scores", nargs="*", metavar="FILE", help="default: every scores.parquet of the results")
    parser.add_argument("--out-dir", metavar="DIR", help="default: the results folder")


def main(arguments: argparse.Namespace) -> int:
    """Write `<target>.csv`, `<target>.compare.csv` and `<target>.md`; cells without a source say why."""
    catalog = catalog_of(arguments)
    target = catalog.target(arguments.target)
    if target.kind != "table":
        raise InputError(f"{target.target} is a figure", remedy=f"retable figure {target.target}", expected="a table")
    table = rebuild(arguments, catalog, target)
    base = Path(arguments.out_dir or results_of(arguments).root)
    write_text(base / f"{target.target}.csv", table_csv(table))
    write_text(base / f"{target.target}.compare.csv", compare_csv(table))
    write_text(base / f"{target.target}.md", table_markdown(table))
    say(f"{target.target}: {base / target.target}.md")
    return 0


def rebuild(arguments: argparse.Namespace, catalog: Catalog, target: Target) -> Table:
    """Read every file that the command line or the results folder offers, and build the table."""
    evidence, sources = read_evidence(arguments, catalog, target), cell_sources(catalog, target, arguments.scale)
    return build_table(target, sources, evidence, controls=read_controls(arguments.controls), unit=arguments.unit)


def read_evidence(arguments: argparse.Namespace, catalog: Catalog, target: Target) -> Evidence:
    """Every file that the command line or the results folder offers for a target, but for controls."""
    layout = results_of(arguments)
    scores, outdated = scores_of(arguments, catalog, target)
    paths = arguments.cost if arguments.cost is not None else _existing([layout.cost(target.target)])
    wanted = {run: lineage.digest_of(lineage.counted(catalog.run(run))) for run in catalog.runs(target)}
    return Evidence(
        scale=arguments.scale,
        share=arguments.share,
        scores=scores,
        outdated=outdated,
        absent=absent_runs(catalog, target, layout),
        cost=read_costs(paths, wanted),
        contradictions=read_contradictions(catalog.paper_folder(target.paper) / "contradictions.csv", target),
        training_time=training_times(catalog, target, layout, arguments.scale),
        latency=read_latencies(_times(arguments, catalog, target, layout)),
    )


def scores_of(
    arguments: argparse.Namespace, catalog: Catalog, target: Target
) -> tuple[dict[str, RunScores], dict[str, str]]:
    """Scores of the target's runs: the named files, else whatever the results folder has.

    Returns:
        run → scores made with the settings of today, and run → what has changed since the others were made.
    """
    layout = results_of(arguments)
    paths = arguments.scores
    if paths is None:
        paths = _existing(layout.scored(run) for run in catalog.runs(target))
    known = catalog.runs(target)
    elsewhere = {run: layout.scores[run] for run in known if run in layout.scores and not layout.absent(run)}
    scores = read_scores([path for path in paths if str(path) not in elsewhere.values()])
    scores |= {run: read_handed_in(run, path) for run, path in elsewhere.items()}
    for run in sorted(set(scores) - set(known)):
        say(f"{target.target}: no row is made from the scored run {run!r}")
    current, outdated = current_scores(
        catalog, layout, arguments.scale, {run: found for run, found in scores.items() if run in known}
    )
    for run, why in outdated.items():
        say(f"{run}: its scores were made with other settings ({why}) and are not shown")
    return current, outdated


def current_scores(
    catalog: Catalog, layout: Layout, scale: Scale, scores: Mapping[str, RunScores]
) -> tuple[dict[str, RunScores], dict[str, str]]:
    """Of scores of the catalog's runs: run → those made with the settings of today, and run → what has changed since
    the others were made."""
    found = {run: _outdated(catalog, layout, scores[run], scale) for run in sorted(scores)}
    outdated = {run: why for run, why in found.items() if why}
    return {run: scores[run] for run in scores if run not in outdated}, outdated


def absent_runs(catalog: Catalog, target: Target, layout: Layout) -> dict[str, str]:
    """run → why nothing is known of it although it was to be made elsewhere."""
    reasons = {run: layout.absent(run) or catalog.made_elsewhere(run) for run in catalog.runs(target)}
    return {run: reason for run, reason in reasons.items() if reason}


def _outdated(catalog: Catalog, layout: Layout, scores: RunScores, scale: Scale) -> str:
    recorded, current = scores.config_digest, catalog.run(scores.run, scale).digest
    if recorded and recorded != current and not scores.chain:
        return f"configuration {recorded}, now {current}"
    return scores_differ(catalog, layout, scores.run, scale, scores.chain)


def read_controls(paths: Iterable[str | Path]) -> dict[str, dict[str, RunScores]]:
    """Label → protocol → scores, from files `…/<paper>/<protocol>/<control>/scores.parquet`.

    Raises:
        InputError: a file lies elsewhere, so that its protocol cannot be told, or holds several runs.
    """
    controls: dict[str, dict[str, RunScores]] = {}
    for path in map(Path, paths):
        scores = list(read_scores([path]).values())
        if len(path.parts) < 4 or len(scores) != 1:
            raise InputError(
                "not the scores of one control",
                where=path,
                expected="<paper>/<protocol>/<control>/scores.parquet, with one run",
                found=f"{len(scores)} runs",
            )
        paper, protocol, control = path.parts[-4:-1]
        controls.setdefault(f"control: {control.replace('_', ' ')}", {})[f"{paper}/{protocol}"] = scores[0]
    return controls


def read_costs(paths: Iterable[str | Path], wanted: Mapping[str, str] | None = None) -> dict[str, dict[str, float]]:
    """run → parameters and flops, from files with the columns `run`, `parameters`, `flops` (empty: not counted), and
    `parameters_added` where they have it.

    Args:
        wanted: run → digest of what its count would be made of today; a line that says another is left out.
    """
    costs: dict[str, dict[str, float]] = {}
    for path in paths:
        for line in _read_table(path, ("run", "parameters", "flops")):
            made, current = line.get("made"), (wanted or {}).get(line["run"])
            if made and current and made != current:
                say(f"{line['run']}: counted with other settings, and not shown")
                continue
            counted = {name: line.get(name, "") for name in ("parameters", "parameters_added", "flops")}
            costs[line["run"]] = {name: _number(text, path) for name, text in counted.items() if text}
    return costs


def read_latencies(paths: Iterable[str | Path]) -> dict[str, tuple[float, str]]:
    """run → (seconds, machine), from files with the columns `run`, `seconds`, `machine`; the last file wins."""
    return {
        line["run"]: (_number(line["seconds"], path), line["machine"])
        for path in paths
        for line in _read_table(path, ("run", "seconds", "machine"))
        if line["seconds"]
    }


def read_contradictions(path: Path, target: Target) -> dict[tuple[str, str], str]:
    """(row, column) → where the paper says otherwise, from the columns `target`, `row`, `column`, `finding`.

    A paper without known contradictions has no such file.

    Raises:
        InputError: the file names a cell that the target does not have.
    """
    if not path.is_file():
        return {}
    lines = [
        line for line in _read_table(path, ("target", "row", "column", "finding")) if line["target"] == target.target
    ]
    for line in lines:
        if target.claim(line["row"], line["column"]) is None:
            cell = f"{line['row']}, {line['column']}"
            raise InputError("a contradiction concerns a cell that was not published", where=path, found=cell)
    return {(line["row"], line["column"]): line["finding"] for line in lines}


def _read_table(path: str | Path, needed: Iterable[str]) -> list[dict[str, str]]:
    if not Path(path).is_file():
        raise InputError("a file of counted or measured values is missing", where=path)
    with Path(path).open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        absent = [name for name in needed if name not in (reader.fieldnames or [])]
        if absent:
            raise InputError("a csv file lacks columns", where=path, expected=list(needed), found=reader.fieldnames)
        return list(reader)


def _number(text: str, path: str | Path) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError("a number was expected", where=path, found=text) from None


def _times(arguments: argparse.Namespace, catalog: Catalog, target: Target, layout: Layout) -> list[Path]:
    """Files of measured times: those given, else those kept with the paper, and after them this machine's own."""
    if arguments.latency is not None:
        return arguments.latency
    kept = sorted((catalog.paper_folder(target.paper) / "measured").glob("latency.*.csv"))
    return [*kept, *_existing([layout.latency(target.target)])]


def _existing(paths: Iterable[str | Path]) -> list[Path]:
    return [Path(path) for path in paths if Path(path).is_file()]
