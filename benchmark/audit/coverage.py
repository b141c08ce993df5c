"""`coverage`: every published number, how it is rebuilt, what that needs, and its state here: results/coverage.*"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from benchmark.audit.findings import Agreement
from benchmark.audit.statement_checks import statement_findings
from benchmark.catalog.arguments import (
    add_catalog_arguments,
    add_record_arguments,
    add_results_argument,
    catalog_of,
    results_of,
)
from benchmark.catalog.catalog import Catalog
from benchmark.catalog.statements import load_statements
from benchmark.catalog.targets import UNREADABLE, Column, Target
from benchmark.errors import InputError
from benchmark.evidence.csv_files import read_compare
from benchmark.files import csv_text, write_text
from benchmark.layout import Layout
from benchmark.markdown import aligned
from benchmark.progress import say

NOTHING = "nothing"
DESCRIPTION = "not attempted (a description)"  # a setting that is printed in words, such as a crop size
RULES = {
    "parameters": "count_cost",
    "parameters_added": "count_cost",
    "flops": "count_cost",
    "latency": "measure_latency",
    "score": "score_run",
    "average": "build_table",
    "option": "build_table",
    "setting": "build_table",
    "cases": "build_table",
    "training_time": "train_run",
    "text": "none",
}
STATES = ("rebuilt", "rebuilt at demo scale", "handed in", "recomputed", "not attempted", "printed text", "unreadable")
INTRODUCTION = """\
Every published cell and every sentence that the papers derive from their cells. `rebuilt` means that this results
folder holds a value of ours beside it (its verdict is in the target's compare.csv), `handed in` one that somebody else
made, `recomputed` that a sentence was calculated anew from the printed cells (audit). Parameters, FLOPs, settings,
dataset sizes and sentences need neither data nor training and are at the paper's scale in the demo as well."""


@dataclass(frozen=True)
class Coverage:
    """One published number.

    Attributes:
        kind: cell or statement.
        how: rule that rebuilds it, behind the target's own table.
        needs: nothing, a GPU, or data, weights and training.
        state: one of STATES; `reason` says why it is not rebuilt, or gives the verdict.
    """

    paper: str
    target: str
    row: str
    column: str
    kind: str
    printed: str
    how: str
    runs: str
    needs: str
    state: str
    reason: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_catalog_arguments(parser)
    add_results_argument(parser)
    add_record_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Write `coverage.csv` and `coverage.md` from the catalog and whatever tables the results folder holds."""
    catalog = catalog_of(arguments)
    layout = results_of(arguments)
    if arguments.results and not Path(arguments.results).is_dir():
        raise InputError(
            "there is no results folder here",
            where="--results",
            expected="a folder that the workflow wrote",
            found=arguments.results,
            remedy="correct the path; without --results the usual folder is read",
        )
    lines = list(coverage(catalog, layout, arguments.scale))
    write_text(f"{layout.root}/coverage.csv", coverage_csv(lines))
    write_text(f"{layout.root}/coverage.md", coverage_markdown(catalog, lines))
    done = sum(line.state.startswith(("rebuilt", "recomputed")) for line in lines)
    say(f"{done} of {len(lines)} published numbers rebuilt or recomputed: {layout.root}/coverage.md")
    return 0


def coverage(catalog: Catalog, layout: Layout, scale: str) -> Iterator[Coverage]:
    """One line per published cell, then one per statement."""
    for target in catalog.targets.values():
        built = read_compare(Path(layout.table(target.target)[1]), ["verdict"])
        for claim in target.published:
            line = built.get((claim.row, claim.column))
            cell = _cell(catalog, target, claim.row, claim.column, line["verdict"] if line else None, scale)
            elsewhere = line and line.get("origin") and cell.state.startswith("rebuilt")
            yield replace(cell, state="handed in") if elsewhere else cell
    for statement, finding in zip(load_statements(catalog), statement_findings(catalog), strict=True):
        readable = finding.outcome is not Agreement.UNREADABLE
        yield Coverage(
            paper=statement.paper,
            target="statements",
            row=statement.id,
            column=statement.kind,
            kind="statement",
            printed=statement.value or statement.text,
            how="audit",
            runs="",
            needs=NOTHING,
            state="recomputed" if readable else "not attempted",
            reason=str(finding.outcome) if readable else finding.note,
        )


def _cell(catalog: Catalog, target: Target, row: str, name: str, verdict: str | None, scale: str) -> Coverage:
    claim, column = target.claim(row, name), target.columns[name]
    assert claim is not None
    runs = catalog.rests_on(target, row, name)
    needs = _needs(catalog, column, runs)
    state, reason = _state(claim.value, column, verdict)
    if state == "rebuilt" and scale == "demo" and needs != NOTHING:
        state = "rebuilt at demo scale"
    return Coverage(
        paper=target.paper,
        target=target.target,
        row=row,
        column=name,
        kind="cell",
        printed=claim.value,
        how=RULES[column.measure],
        runs=" ".join(runs),
        needs=needs,
        state=state,
        reason=reason,
    )


def _needs(catalog: Catalog, column: Column, runs: Sequence[str]) -> str:
    """What has to be there before the cell can be rebuilt, apart from this repository."""
    if column.measure in ("latency", "training_time"):
        return "a GPU"
    if column.measure not in ("score", "average"):
        return NOTHING
    made = {name for run in runs for name in (run, *catalog.trainings(run))}
    weights = {file for name in made for file in catalog.run(name).model.released}
    return "data, a GPU and training" + (f"; weights {', '.join(sorted(weights))}" if weights else "")


def _state(value: str, column: Column, verdict: str | None) -> tuple[str, str]:
    if value == UNREADABLE:
        return "unreadable", "the source text is damaged"
    if column.measure == "text" or not value:
        return "printed text", "words or marks, compared with nothing"
    if verdict is None:
        return "not attempted", "the table has not been built here"
    if verdict == DESCRIPTION:
        return "printed text", "words, compared with nothing"
    if verdict.startswith("not attempted"):
        return "not attempted", verdict.removeprefix("not attempted").strip(" ()")
    return "rebuilt", verdict


def coverage_csv(lines: Iterable[Coverage]) -> str:
    """One line per published number."""
    return csv_text([[field.name for field in fields(Coverage)], *map(astuple, lines)])


def coverage_markdown(catalog: Catalog, lines: Sequence[Coverage]) -> str:
    """Totals per paper and target, by state and by need, and why the rest is not rebuilt."""
    parts = ["# Coverage: every published number", INTRODUCTION, "## By paper", _by_paper(catalog, lines)]
    parts += ["## By target", _by_target(lines), "## What the numbers need", _by_need(lines)]
    parts += ["## Why numbers are not rebuilt", _reasons(lines), "Every number is a line of `coverage.csv`."]
    return "\n\n".join(parts) + "\n"


def _states(lines: Iterable[Coverage]) -> list[str]:
    count = Counter(line.state for line in lines)
    return [str(count.total()), *(str(count[state]) for state in STATES)]


def _by_paper(catalog: Catalog, lines: Sequence[Coverage]) -> str:
    rows = [["paper", "numbers", *STATES]]
    rows += [[paper, *_states(line for line in lines if line.paper == paper)] for paper in catalog.papers]
    return aligned([*rows, ["together", *_states(lines)]])


def _by_target(lines: Sequence[Coverage]) -> str:
    names = dict.fromkeys((line.paper, line.target) for line in lines)
    rows = [["paper", "target", "numbers", *STATES]]
    rows += [[*name, *_states(line for line in lines if (line.paper, line.target) == name)] for name in names]
    return aligned(rows)


def _by_need(lines: Sequence[Coverage]) -> str:
    rows = [["needs", "numbers", *STATES]]
    needs = sorted({line.needs for line in lines}, key=lambda need: (need != NOTHING, need))
    return aligned([*rows, *([need, *_states(line for line in lines if line.needs == need)] for need in needs)])


def _reasons(lines: Sequence[Coverage]) -> str:
    count = Counter(line.reason for line in lines if line.state == "not attempted")
    return aligned([["reason", "numbers"], *([reason, str(number)] for reason, number in count.most_common())])
