"""Command-line arguments that several commands share: catalog, run, results folder."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import get_args

from benchmark import lineage
from benchmark.catalog.catalog import DEFAULT_FOLDER, DEFAULT_SHARE, Catalog, load_catalog
from benchmark.errors import InputError
from benchmark.files import value_digest, write_json
from benchmark.layout import Layout
from benchmark.settings import RunConfig, Scale
from benchmark.version import code_version


def add_catalog_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", choices=get_args(Scale), default="paper", help="default: paper")
    parser.add_argument("--share", type=float, default=DEFAULT_SHARE, help="share of the steps at scale pilot")
    parser.add_argument("--seeds", type=int, help="runs per row, with seeds 0, 1, …; default: as each row says")
    parser.add_argument("--variant", help="recipe of the rows that have it, e.g. original; default: each row's own")
    parser.add_argument("--paper-tables", default=str(DEFAULT_FOLDER), help="folder of claims, specs and protocols")


def catalog_of(arguments: argparse.Namespace, *, only: str | None = None) -> Catalog:
    return load_catalog(
        arguments.paper_tables, seeds=arguments.seeds, share=arguments.share, variant=arguments.variant, only=only
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="run id: <paper>/<protocol>/<model>/seed<k>")
    add_catalog_arguments(parser)


def run_config(arguments: argparse.Namespace) -> RunConfig:
    """The run's settings, resolved to the scale on the command line."""
    return catalog_of_run(arguments).run(arguments.run, arguments.scale)


def catalog_of_run(arguments: argparse.Namespace) -> Catalog:
    """The catalog that the run of the command line needs: its paper."""
    return catalog_of(arguments, only=arguments.run.partition("/")[0])


def add_record_arguments(parser: argparse.ArgumentParser) -> None:
    """What a product is made of, as the workflow knows it: written to a record when the command has done its work."""
    parser.add_argument(
        "--made", nargs="+", metavar="WORD", help="for the record: a digest of the specification, then records it reads"
    )
    parser.add_argument("--record", metavar="FILE", help="where to write what it is made of")


def write_record(arguments: argparse.Namespace) -> None:
    """The record that a command line asks for, if it asks for one."""
    if getattr(arguments, "made", None) and arguments.record:
        specification, *records = arguments.made
        inputs = value_digest([lineage.recorded_digest(path) for path in records])
        made = {"specification": specification, "inputs": inputs}
        write_json(arguments.record, {"made": made, "code_version": code_version()})


def add_results_argument(parser: argparse.ArgumentParser) -> None:
    """`--results`, for commands that read or write a results folder as a whole."""
    parser.add_argument("--results", metavar="DIR", help="default: results, results/pilot or results/demo")


def add_handed_in_argument(parser: argparse.ArgumentParser) -> None:
    """`--handed-in`, for commands that show results made elsewhere."""
    parser.add_argument(
        "--handed-in",
        nargs=3,
        action="append",
        metavar=("KIND", "RUN", "PATH"),
        help="of a run made elsewhere: predictions (folder of label maps) or scores (scores.parquet); may be repeated",
    )


def results_of(arguments: argparse.Namespace) -> Layout:
    """The results folder of a command line: the one given, else that of the scale; and what was made elsewhere.

    Raises:
        InputError: something was handed in that is neither predictions nor scores.
    """
    kinds: dict[str, dict[str, str]] = {"predictions": {}, "scores": {}}
    for kind, run, path in getattr(arguments, "handed_in", None) or ():
        if kind not in kinds:
            raise InputError("unknown kind of results", where="--handed-in", expected=" or ".join(kinds), found=kind)
        kinds[kind][run] = path
    layout = Layout.at(arguments.scale, **kinds)
    return replace(layout, root=arguments.results) if arguments.results else layout
