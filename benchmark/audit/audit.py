"""`audit`: the papers' arithmetic, recomputed from their own printed numbers: results/audit.csv and .md, or a part."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmark.audit.findings import Agreement, Contradiction, Finding
from benchmark.audit.selection import Selection, concerning, read_selection
from benchmark.audit.standard_errors import separation_findings
from benchmark.audit.statement_checks import statement_findings
from benchmark.audit.table_checks import table_findings
from benchmark.catalog.arguments import (
    add_catalog_arguments,
    add_record_arguments,
    add_results_argument,
    catalog_of,
    results_of,
)
from benchmark.catalog.catalog import Catalog
from benchmark.evidence.table import read_costs
from benchmark.files import csv_text, write_text
from benchmark.layout import Layout
from benchmark.markdown import aligned
from benchmark.progress import say

COLUMNS = ("paper", "check", "subject", "cells", "expected", "printed", "difference", "outcome", "note")
INTRODUCTION = """\
Every number below is recomputed from what the papers print. A printed decimal stands for all values that would have
been printed so, and a result agrees with its parts if the two intervals overlap; `[a, b]` are such intervals. What does
not add up is listed first: two things cannot both hold, and the check cannot tell which one is wrong."""
SHOWN_CELLS = 2
LONG_LIST = 3  # from here on findings of one check are a table
REMARKS = {  # what holds for every finding of a check
    "counted parameters": "Expected is our count of the network that the row names, on this paper's patch and classes; "
    "the paper's ledger says what is known of a difference.",
    "counted flops": "Expected is our count, one multiply-add as one, of the network that the row names; the paper's "
    "ledger says what is known of a difference.",
}
OPEN = (Agreement.DISAGREES, Agreement.NOTABLE, Agreement.ROUNDING, Agreement.UNREADABLE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "selection",
        nargs="*",
        metavar="PAPER|TARGET [ROW [COLUMN]]",
        help="print only the checks that concern it, and write nothing; default: all checks, into the results folder",
    )
    add_catalog_arguments(parser)
    add_results_argument(parser)
    add_record_arguments(parser)
    parser.add_argument("--contradictions", action="store_true", help="also write paper_tables/*/contradictions.csv")


def main(arguments: argparse.Namespace) -> int:
    """Write `audit.csv` (every check) and `audit.md` (what does not add up, and how much was checked); print a part."""
    catalog = catalog_of(arguments)
    layout = results_of(arguments)
    chosen = read_selection(catalog, arguments.selection)
    findings = audit(catalog, counted(catalog, layout))
    if chosen != Selection():
        print(listing(concerning(findings, chosen)))
        return 0
    write_text(f"{layout.root}/audit.csv", findings_csv(findings))
    write_text(f"{layout.root}/audit.md", findings_markdown(catalog, findings))
    if arguments.contradictions:
        write_contradictions(catalog, findings)
    wrong = sum(finding.outcome is Agreement.DISAGREES for finding in findings)
    say(f"{len(findings)} checks, {wrong} do not add up: {layout.root}/audit.md")
    return 0


def audit(catalog: Catalog, counts: dict[str, dict[str, float]]) -> list[Finding]:
    """Every check of every paper, papers in the catalog's order, what does not add up first."""
    findings = [*table_findings(catalog, counts), *separation_findings(catalog), *statement_findings(catalog)]
    papers, outcomes = list(catalog.papers), list(Agreement)
    rank = {outcome: number for number, outcome in enumerate((*OPEN, *outcomes))}
    return sorted(findings, key=lambda finding: (papers.index(finding.paper), rank[finding.outcome], finding.check))


def counted(catalog: Catalog, layout: Layout) -> dict[str, dict[str, float]]:
    """run → counted parameters and FLOPs: those measured before, and over them those of the results folder."""
    measured = [catalog.paper_folder(paper) / "measured" / "flops.csv" for paper in catalog.papers]
    fresh = [Path(layout.cost(target)) for target in catalog.targets]
    return read_costs(path for path in (*measured, *fresh) if path.is_file())


def contradictions(findings: Iterable[Finding]) -> list[Contradiction]:
    """Published cells that their own paper, or its sibling, contradicts: the content of contradictions.csv."""
    return [contradiction for finding in findings for contradiction in finding.contradictions]


def write_contradictions(catalog: Catalog, findings: Sequence[Finding]) -> None:
    """paper_tables/<paper>/contradictions.csv, which the tables' verdicts read; no file where there is nothing."""
    found = contradictions(findings)
    for paper in catalog.papers:
        own = [line for line in found if catalog.target(line.target).paper == paper]
        if own:
            write_text(
                catalog.paper_folder(paper) / "contradictions.csv", csv_text([list(Contradiction._fields), *own])
            )


def findings_csv(findings: Sequence[Finding]) -> str:
    """One line per check, with all cells that it rests on."""
    rows = []
    for finding in findings:
        fields = {**vars(finding), "cells": " ; ".join(finding.cells), "outcome": str(finding.outcome)}
        rows.append([fields[name] for name in COLUMNS])
    return csv_text([list(COLUMNS), *rows])


def findings_markdown(catalog: Catalog, findings: Sequence[Finding]) -> str:
    """One section per paper: what does not add up, then the rest that is open; totals at the top and the end."""
    parts = ["# Audit: what the papers' own numbers say", INTRODUCTION, _totals(catalog, findings)]
    for paper, folder in catalog.papers.items():
        own = [finding for finding in findings if finding.paper == paper]
        if own:
            parts += [f"## {folder.paper.title}", *_sections(own)]
    parts += ["## What was checked", _checked(findings), "Every check with its cells is a line of `audit.csv`."]
    return "\n\n".join(parts) + "\n"


def listing(findings: Sequence[Finding]) -> str:
    """Findings by outcome, what agrees included, with a line of totals at the end."""
    parts = []
    for outcome in dict.fromkeys((*OPEN, *Agreement)):
        listed = [finding for finding in findings if finding.outcome is outcome]
        if listed:
            parts += [f"{str(outcome).capitalize()} ({len(listed)})", "\n".join(map(_item, listed))]
    wrong = sum(finding.outcome is Agreement.DISAGREES for finding in findings)
    return "\n\n".join([*parts, f"{len(findings)} checks, {wrong} do not add up"])


def _totals(catalog: Catalog, findings: Sequence[Finding]) -> str:
    rows = [["paper", "checks", *(str(outcome) for outcome in (Agreement.AGREES, *OPEN))]]
    for paper in catalog.papers:
        count = Counter(finding.outcome for finding in findings if finding.paper == paper)
        rows.append([paper, str(count.total()), *(str(count[outcome]) for outcome in (Agreement.AGREES, *OPEN))])
    return aligned(rows)


def _sections(findings: Sequence[Finding]) -> Iterable[str]:
    for outcome in OPEN:
        listed = [finding for finding in findings if finding.outcome is outcome]
        if listed:
            yield f"### {str(outcome).capitalize()} ({len(listed)})"
            for check in dict.fromkeys(finding.check for finding in listed):
                group = [finding for finding in listed if finding.check == check]
                yield _table(group) if len(group) > LONG_LIST else "\n".join(map(_item, group))
                if check in REMARKS:
                    yield REMARKS[check]


def _table(findings: Sequence[Finding]) -> str:
    """Many findings of one check, a line each; their cells and notes are in audit.csv."""
    rows = [[findings[0].check, "expected", "printed", "difference"]]
    rows += [[finding.subject, finding.expected, finding.printed, finding.difference] for finding in findings]
    filled = [column for column in zip(*rows, strict=True) if any(column[1:])]
    rows = [list(row) for row in zip(*filled, strict=True)]
    notes = {finding.note.rsplit(";", 1)[0] for finding in findings if finding.note}
    note = notes.pop() if len(notes) == 1 else ""
    return aligned(rows) + (f"\n\n{note[0].upper()}{note[1:]}." if note else "")


def _item(finding: Finding) -> str:
    difference = f", difference {finding.difference}" if finding.difference else ""
    against = f"  Expected {finding.expected}; printed {finding.printed}{difference}." if finding.expected else ""
    more = f" and {len(finding.cells) - SHOWN_CELLS} more" if len(finding.cells) > SHOWN_CELLS else ""
    cells = f"  Rests on {'; '.join(finding.cells[:SHOWN_CELLS])}{more}." if finding.cells else ""
    note = f"  {finding.note[0].upper()}{finding.note[1:]}." if finding.note else ""
    lines = [f"- **{finding.check}**: {finding.subject}", against, cells, note]
    return "\n".join(line for line in lines if line)


def _checked(findings: Sequence[Finding]) -> str:
    kinds = sorted({finding.check for finding in findings})
    rows = [["check", "number", "agree or rounding explains it", "do not add up"]]
    for kind in kinds:
        count = Counter(finding.outcome for finding in findings if finding.check == kind)
        fine = count[Agreement.AGREES] + count[Agreement.ROUNDING]
        rows.append([kind, str(count.total()), str(fine), str(count[Agreement.DISAGREES])])
    return aligned(rows)
