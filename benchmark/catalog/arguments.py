"""Command-line arguments that several commands share: catalog, run, results folder."""

from __future__ import annotations

import argparse

from benchmark.catalog.catalog import DEFAULT_FOLDER, Catalog, load_catalog
from benchmark.layout import Layout
from benchmark.settings import RunConfig


def add_catalog_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", choices=("paper", "demo"), default="paper", help="default: paper")
    parser.add_argument("--paper-tables", default=str(DEFAULT_FOLDER), help="folder of claims, specs and protocols")


def catalog_of(arguments: argparse.Namespace) -> Catalog:
    return load_catalog(arguments.paper_tables)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="run id: <paper>/<protocol>/<model>/seed<k>")
    add_catalog_arguments(parser)


def run_config(arguments: argparse.Namespace) -> RunConfig:
    """The run's settings, resolved to the scale on the command line."""
    return catalog_of(arguments).run(arguments.run, arguments.scale)


def add_results_argument(parser: argparse.ArgumentParser) -> None:
    """`--results`, for commands that read or write a results folder as a whole."""
    parser.add_argument("--results", metavar="DIR", help="default: results, or results/demo")


def results_of(arguments: argparse.Namespace) -> Layout:
    """The results folder of a command line: the one given, else that of the scale."""
    return Layout(arguments.results) if arguments.results else Layout.at(arguments.scale)
