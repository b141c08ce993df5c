"""`page`: one offline file in which every published number can be found, sorted, questioned and traced.

The parts are sections in the order of the navigation. The address names what is shown, as in
`#tables/<target>/<row>/<column>` and `#claims?verdict=below`; a part's script hears of it by the event `shown` on its
section (static/page.js).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmark.catalog.arguments import (
    add_catalog_arguments,
    add_handed_in_argument,
    add_record_arguments,
    add_results_argument,
    catalog_of,
    results_of,
)
from benchmark.catalog.catalog import Catalog
from benchmark.errors import InputError
from benchmark.evidence.csv_files import compare_csv, table_csv
from benchmark.evidence.scores import RunScores, read_scores
from benchmark.evidence.table import current_scores, rebuild
from benchmark.files import write_text
from benchmark.layout import Layout
from benchmark.page.audit import audit_section
from benchmark.page.budget import budget_section
from benchmark.page.cases import cases_section
from benchmark.page.claims import claimed, claims_section
from benchmark.page.component import table_component
from benchmark.page.figures import figures_section
from benchmark.page.ledger import ledger_section
from benchmark.page.material import Material, read_material
from benchmark.page.section import Section
from benchmark.page.start import facts, stamp, start_section
from benchmark.page.tables import tables_section
from benchmark.page.templates import render, static
from benchmark.progress import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_catalog_arguments(parser)
    add_results_argument(parser)
    add_handed_in_argument(parser)
    add_record_arguments(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--scores", nargs="+", metavar="FILE", help="scores handed in, instead of a results folder")
    source.add_argument("--published", action="store_true", help="from the claims alone; needs --out")
    parser.add_argument("--out", metavar="FILE", help="default: index.html of the results folder")


def main(arguments: argparse.Namespace) -> int:
    """Write the page: from a results folder, from handed-in scores, or from the claims alone."""
    if arguments.published and not arguments.out:
        raise InputError("a page from the claims alone belongs to no results folder", remedy="--out FILE")
    if arguments.published:
        arguments.scale = "paper"  # what was published
    catalog, layout = catalog_of(arguments), results_of(arguments)
    out = Path(arguments.out or layout.index())
    with TemporaryDirectory() as folder:
        linked = not (arguments.published or arguments.scores)
        if not linked:
            _build_tables(arguments, catalog, layout, Layout(folder))
            layout = Layout(folder)
        material = read_material(catalog, layout, arguments.scale, published=arguments.published, linked=linked)
        scores = {} if arguments.published else _scores(arguments, catalog, results_of(arguments))
        write_text(out, page_html(sections(material, scores), material))
    say(f"page: {out} ({out.stat().st_size / 1e6:.1f} MB)")
    return 0


def sections(material: Material, scores: Mapping[str, RunScores]) -> list[Section]:
    """The parts of the page, in their order; `scores` of all runs that have some."""
    claims, place = claimed(material), (material.catalog, material.layout, material.scale)
    current, outdated = current_scores(material.catalog, material.layout, material.scale, scores)
    return [
        start_section(material, claims),
        tables_section(material, claims),
        claims_section(claims),
        figures_section(*place, published_only=material.published),
        cases_section(*place, scores=current, outdated=outdated),
        audit_section(material),
        ledger_section(material),
        budget_section(material),
    ]


def page_html(parts: Sequence[Section], material: Material) -> str:
    """The whole file: styles, scripts and data are text in it, and nothing is loaded from elsewhere."""
    component, style = table_component()
    return render(
        "page.html",
        sections=parts,
        data={part.identifier: embedded(part.data) for part in parts if part.data},
        facts=facts(material),
        stamp=stamp(material),
        styles=[style, static("page.css")],
        component=component,
        core=static("page.js"),
        scripts=[static(part.script) for part in parts if part.script],
    )


def embedded(value: object) -> str:
    """JSON that may stand inside a script element; what is no number becomes null."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _scores(arguments: argparse.Namespace, catalog: Catalog, results: Layout) -> dict[str, RunScores]:
    """Those handed in, else of every run of the catalog that the results folder has."""
    runs = dict.fromkeys(run for target in catalog.targets.values() for run in catalog.runs(target))
    paths = arguments.scores or [path for path in map(results.scored, runs) if Path(path).is_file()]
    return {run: found for run, found in read_scores(paths).items() if run in runs}


def _build_tables(arguments: argparse.Namespace, catalog: Catalog, results: Layout, built: Layout) -> None:
    """The tables' files in a folder of their own, from handed-in scores or from none, with what was counted before."""
    runs_of = {path: set(read_scores([path])) for path in arguments.scores or ()}
    known = {run for target in catalog.targets.values() for run in catalog.runs(target)}
    for run in sorted(set().union(*runs_of.values()) - known):
        say(f"no table has a row made from the scored run {run!r}")
    for target in catalog.targets.values():
        if target.kind != "table":
            continue
        own = set(catalog.runs(target))
        counted = [catalog.paper_folder(paper) / "measured" / "flops.csv" for paper in catalog.papers]
        counted += [] if arguments.published else [Path(results.cost(target.target))]
        files = {
            "results": built.root,
            "scores": [path for path, runs in runs_of.items() if runs & own],
            "cost": [path for path in counted if path.is_file()],
            "latency": None,
            "controls": [],
            "unit": "cases",
        }
        table = rebuild(argparse.Namespace(**{**vars(arguments), **files}), catalog, target)
        csv, compare, _ = built.table(target.target)
        write_text(csv, table_csv(table))
        write_text(compare, compare_csv(table))
