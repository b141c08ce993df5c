"""Command-line arguments shared by all stages that work on a run."""

from __future__ import annotations

import argparse

from benchmark.catalog.catalog import DEFAULT_FOLDER, Catalog, load_catalog
from benchmark.catalog.settings import RunConfig


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
