"""`explain`: one cell in one sentence, then what bears on it, then where it comes from; or the rows of a target."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmark.audit.audit import audit
from benchmark.audit.findings import Finding
from benchmark.audit.selection import Selection, concerning
from benchmark.audit.standard_errors import PrintedMean, inseparable, printed_means
from benchmark.catalog.arguments import add_catalog_arguments, add_results_argument, catalog_of, results_of
from benchmark.catalog.catalog import Catalog
from benchmark.catalog.derivation import check_names, derivation, ledger_of, plain
from benchmark.catalog.targets import UNREADABLE, Target
from benchmark.evidence.cells import JudgedCell, format_number
from benchmark.evidence.csv_files import NOTHING_PUBLISHED
from benchmark.evidence.folds import FoldRow, fold_rows
from benchmark.evidence.rebuilt import build_cells
from benchmark.evidence.resolve import cell_sources
from benchmark.evidence.table import read_evidence
from benchmark.evidence.verdict import Outcome
from benchmark.markdown import aligned
from benchmark.own import own_folders

STATEMENT = "statement: "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", help="a table or figure of the catalog")
    parser.add_argument("row", nargs="?", help="default: its rows and columns are listed")
    parser.add_argument("column", nargs="?", help="default: the row's cells are listed")
    add_catalog_arguments(parser)
    add_results_argument(parser)
    parser.set_defaults(scores=None, cost=None, latency=None)


def main(arguments: argparse.Namespace) -> None:
    catalog = catalog_of(arguments)
    target = catalog.target(arguments.target)
    check_names(target, arguments.row, arguments.column)
    if arguments.column is not None:
        lines = explain(catalog, target, arguments.row, arguments.column, arguments)
    else:
        lines = contents(catalog, target, arguments.row)
    print("\n".join(lines))


def contents(catalog: Catalog, target: Target, row: str | None = None) -> Iterator[str]:
    """The printed cells of a target, rows by columns, or those of one row; of a figure without cells what it draws."""
    yield f"{target.number} of {catalog.papers[target.paper].paper.title}: {target.title}"
    if not target.columns:
        parameters = target.figure.parameters if target.figure else {}
        yield from (f"  {name}: {plain(value)}" for name, value in parameters.items())
        yield f"rows  {', '.join(target.rows)}" if target.rows else "It has no rows."
        return
    rows = list(target.rows) if row is None else [row]
    printed = [[name, *(_printed(target, name, column) for column in target.columns)] for name in rows]
    yield aligned([["row", *target.columns], *printed])
    own = "".join(f" --papers {folder}" for folder in own_folders())
    yield f'one cell: retable explain {target.target} "{rows[0]}" "{next(iter(target.columns))}"{own}'


def explain(catalog: Catalog, target: Target, row: str, column: str, arguments: argparse.Namespace) -> Iterator[str]:
    """Lines that explain a cell.

    Args:
        arguments: as of `add_arguments`: scale, and the results folder that ours is read from. Parameters and FLOPs
            that are not counted there are those committed in `measured/flops.csv`.

    Raises:
        InputError: the target has no such row or column.
    """
    check_names(target, row, column)
    cell, folds = judged(catalog, target, row, column, arguments)
    yield sentence(catalog, target, cell)
    yield from (_of_folds(found, column) for found in folds)
    yield ""
    yield from bearing(catalog, target, row, column)
    yield ""
    yield from derivation(catalog, target, row, column, arguments.scale)


def judged(
    catalog: Catalog, target: Target, row: str, column: str, arguments: argparse.Namespace
) -> tuple[JudgedCell, tuple[FoldRow, ...]]:
    """The cell as its table has it, from what the results folder holds, and the same of each fold, if it has any."""
    counted = [catalog.paper_folder(paper) / "measured" / "flops.csv" for paper in catalog.papers]
    counted.append(Path(results_of(arguments).cost(target.target)))
    options = {**vars(arguments), "cost": [path for path in counted if path.is_file()]}
    evidence = read_evidence(argparse.Namespace(**options), catalog, target)
    names = (*target.columns[column].of, column)
    part = {"rows": {row: target.rows[row]}, "columns": {name: target.columns[name] for name in names}}
    sources, own = cell_sources(catalog, target, arguments.scale), target.model_copy(update=part)
    folds = fold_rows(own, sources, evidence)
    return build_cells(own, sources, evidence)[row, column], tuple(one for one in folds if column in one.columns)


def sentence(catalog: Catalog, target: Target, cell: JudgedCell) -> str:
    """What was printed, what we have, the verdict, and why."""
    place = f"{target.number} of {catalog.papers[target.paper].paper.title}, {cell.row}, {cell.column}"
    printed = _printed(target, cell.row, cell.column)
    said = f"{_with_unit(target, cell, printed)} was printed" if printed else "nothing was printed"
    return f"{place}: {said}; {_ours(target, cell)}; {_judgement(cell)}."


def _of_folds(found: FoldRow, column: str) -> str:
    """The values of a cell on each fold in one line."""
    texts = {fold: cells[column].text for fold, cells in found.cells.items()}
    if len(set(texts.values())) == 1:
        return f"folds       each of {len(texts)}: {next(iter(texts.values()))}"
    deviation = found.deviation(column)
    spread = f"; sd over folds {deviation}" if deviation else ""
    return "folds       " + ", ".join(f"{fold}: {text}" for fold, text in texts.items()) + spread


def _printed(target: Target, row: str, column: str) -> str:
    claim = target.claim(row, column)
    return f"{claim.value} {claim.stars}".strip() if claim else ""


def _with_unit(target: Target, cell: JudgedCell, text: str) -> str:
    unit = target.columns[cell.column].unit
    numeric = cell.published.kind in ("number", "missing")
    return f"{text} {unit}" if unit and numeric and not cell.published.unit else text


def _ours(target: Target, cell: JudgedCell) -> str:
    measured = cell.measured
    if measured.rebuilt is None and not measured.words:
        return "we have nothing"
    cases = f" over {measured.cases} cases" if measured.cases is not None else ""
    kind = "folds" if cell.source.folds else "seeds"
    seeds = f" and {measured.rebuilt.runs} {kind}" if measured.rebuilt and measured.rebuilt.runs > 1 else ""
    return f"we have {_with_unit(target, cell, cell.text)}{cases}{seeds}"


def _judgement(cell: JudgedCell) -> str:
    verdict, band = cell.verdict, cell.measured.band
    if not cell.published.text and (cell.measured.rebuilt is not None or cell.measured.words):
        return f"the verdict is: {NOTHING_PUBLISHED}"
    why = verdict.reason or _reason(cell)
    reading = f"; {cell.source.reading}" if cell.source.reading and verdict.outcome is not Outcome.WITHIN else ""
    noise = f" (band {band.half_width:g}, {band.source})" if band and not verdict.reason else ""
    return f"the verdict is {verdict.outcome}: {why}{noise}{reading}"


def _reason(cell: JudgedCell) -> str:
    """Why, where the verdict does not say it itself."""
    outcome, measured, decimals = cell.verdict.outcome, cell.measured, cell.published.decimals + 2
    if measured.mode == "count":
        value = format_number(measured.rebuilt.value, decimals) if measured.rebuilt else measured.words
        return f"{value} {'is' if outcome is Outcome.WITHIN else 'would not be'} printed so"
    if outcome is Outcome.WITHIN:
        return "the whole interval lies in the band around the printed value"
    if outcome is Outcome.NOT_SEPARABLE:
        return "the interval lies neither inside nor outside the band around the printed value"
    return f"the difference of {format_number(cell.verdict.delta or 0.0, decimals)} is larger than the band"


def bearing(catalog: Catalog, target: Target, row: str, column: str) -> Iterator[str]:
    """Statements that rest on the cell and checks of it, each with its outcome; standard errors; ledger entries."""
    for finding in concerning(audit(catalog, {}), Selection("", target.target, row, column)):
        if finding.check != "best row and standard error":
            yield _outcome(finding)
    yield from _separation(catalog, target, row, column)
    for paper, entry in ledger_of(catalog, target, row, column):
        own = "" if paper == target.paper else f"{paper}/"
        told = f"evidence: {entry.evidence}; authors: {entry.asked_authors}"
        yield f"ledger      {own}{entry.id}: {entry.subject}; {told}"
        yield f"            default {entry.default}: {entry.because}"


def _outcome(finding: Finding) -> str:
    kind = finding.check.removeprefix(STATEMENT)
    word = "statement" if finding.check.startswith(STATEMENT) else "check"
    what = finding.subject if word == "statement" else f"{kind}, {finding.subject}"
    sides = f" (printed {finding.printed}; the cells give {finding.expected})" if finding.expected else ""
    note = f"; {finding.note}" if finding.note else ""
    return f"{word:<12}{finding.outcome}: {what}{sides}{note}"


def _separation(catalog: Catalog, target: Target, row: str, column: str) -> Iterator[str]:
    claim = target.claim(row, column)
    means = printed_means(catalog, target, column) if claim and claim.value != UNREADABLE else {}
    if row not in means:
        return
    own, near = means[row], inseparable(means, row)
    yield f"deviation   standard error {own.standard_error:.4f} of the mean: ± {own.deviation:g} over {own.cases} cases"
    if near:
        yield f"            which cannot separate it from {', '.join(map(_mean, near))} (cases not paired)"


def _mean(other: PrintedMean) -> str:
    return f"{other.row} ({other.mean:g})"
