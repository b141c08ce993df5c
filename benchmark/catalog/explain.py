"""`explain`: the whole derivation of a cell: claim, measure, run, protocol with provenance, ledger, files, command."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from benchmark.catalog.arguments import add_catalog_arguments, catalog_of
from benchmark.catalog.catalog import Catalog
from benchmark.catalog.layout import Layout
from benchmark.catalog.settings import Scale
from benchmark.catalog.statements import load_statements, select
from benchmark.catalog.targets import Target
from benchmark.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target")
    parser.add_argument("row")
    parser.add_argument("column")
    add_catalog_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    catalog = catalog_of(arguments)
    target = catalog.target(arguments.target)
    for line in explain(catalog, target, arguments.row, arguments.column, arguments.scale):
        print(line)


def explain(catalog: Catalog, target: Target, row: str, column: str, scale: Scale) -> Iterator[str]:
    """Lines that derive the cell (`row`, `column`) of a target.

    Raises:
        InputError: the target has no such row or column.
    """
    for kind, name, choices in (("row", row, target.rows), ("column", column, target.columns)):
        if name not in choices:
            raise InputError(f"{target.target} has no {kind} {name!r}", expected="one of " + ", ".join(choices))
    claim = target.claim(row, column)
    measure = target.columns[column]
    yield f"{target.number} of {catalog.papers[target.paper].paper.title}: {row}, {column}"
    yield f"published   {claim.value + ' ' + claim.stars if claim else 'nothing in this cell'}"
    described = measure.model_dump(exclude_defaults=True)
    yield "measure     " + ", ".join(f"{key} {value}" for key, value in described.items())
    layout = Layout.at(scale)
    for run in catalog.cell_runs(target, row, column):
        yield from _explain_run(catalog, run, layout, scale)
    concerned = {target.target} | {part for run in catalog.runs(target) for part in run.split("/")[1:2]}
    concerned |= {catalog.run(run).model.name for run in catalog.cell_runs(target, row, column)}
    for entry in catalog.papers[target.paper].ledger:
        if concerned & set(entry.concerns):
            yield f"ledger      {entry.id}: {entry.subject} (default: {entry.default})"
    yield from _statements(catalog, target, row, column)
    file = (layout.table if target.kind == "table" else layout.figure)(target.target)[0]
    yield f"command     snakemake {'--profile demo ' if scale == 'demo' else ''}{file}"


def _statements(catalog: Catalog, target: Target, row: str, column: str) -> Iterator[str]:
    """Sentences of the papers that rest on the cell."""
    for statement in load_statements(catalog):
        default = statement.cells[0].column if statement.cells else None
        cells = [cell for reference in statement.cells for cell in select(catalog, reference, default)]
        if any((cell.target, cell.claim.row, cell.claim.column) == (target.target, row, column) for cell in cells):
            yield f"statement   {statement.text} ({statement.kind}{' ' + statement.value if statement.value else ''})"


def _explain_run(catalog: Catalog, run: str, layout: Layout, scale: Scale) -> Iterator[str]:
    config = catalog.run(run, scale)
    paper, protocol, model, _ = run.split("/")
    folder = catalog.papers[paper]
    yield f"run         {run} ({catalog.pending(run) or 'ready'}), configuration {config.digest}"
    yield f"network     {config.model.name} {config.model.options}, from {config.model.initialisation}"
    yield f"convention  {config.convention}"
    for key, origin in {**folder.models[model].origins, **folder.protocols[protocol].origins}.items():
        yield f"  {key}: {_value(config, key)} — {origin.kind}: {origin.text}"
    if scale == "demo":
        yield f"  at demo scale overridden by {folder.protocols[protocol].demo}"
    files = (layout.prepared_for(config), layout.trained(run), layout.predicted(run), layout.scored(run))
    yield "files       " + " → ".join(files)


def _value(config, key: str) -> object:
    """The value at a dotted key of the resolved settings; model options have no key of their own there."""
    value: object = config
    for part in key.split("."):
        if not hasattr(value, part):
            return config.model.options if key.endswith("options") else "-"
        value = getattr(value, part)
    return value
