"""`retable completion SHELL`: a script by which a shell completes commands, options, names and files.

The names stand in the script: a completion starts no program, and takes as long as the shell needs to look them up.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import shtab

from benchmark.catalog.catalog import Catalog, load_catalog
from benchmark.datasets import available_datasets
from benchmark.models.registry import available_models
from benchmark.models.released import weight_sources
from benchmark.scoring.conventions import load_conventions

# What an argument takes: by command and argument where it is called otherwise elsewhere, else by argument.
TAKES = {
    "target": ("targets",),
    "--target": ("targets",),
    "run": ("runs",),
    "dataset": ("datasets",),
    "network": ("networks",),
    "--convention": ("conventions",),
    "--variant": ("variants",),
    "audit selection": ("papers", "targets"),
    "export what": ("results", "runs"),
    "fetch-weights name": ("weights",),
    "latency models": ("models",),
}
FOLDERS = ("--papers", "--paper-tables", "--results")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)


def main(arguments: argparse.Namespace) -> None:
    """Print the script. `arguments.parser` is the whole command line, with the arguments of every command."""
    print(script(arguments.parser, arguments.shell, names_of(load_catalog())))


def names_of(catalog: Catalog) -> dict[str, list[str]]:
    """Kind of names → the names that there are, those of one's own among them."""
    runs = dict.fromkeys(run for target in catalog.targets.values() for run in catalog.runs(target))
    return {
        "papers": list(catalog.papers),
        "targets": list(catalog.targets),
        "runs": sorted({*runs, *(training for run in runs for training in catalog.trainings(run))}),
        "datasets": available_datasets(),
        "networks": available_models(),
        "models": sorted({name for folder in catalog.papers.values() for name in folder.models}),
        "variants": list(catalog.variants()),
        "conventions": [*load_conventions(), "all"],
        "weights": list(weight_sources()),
        "results": ["results"],
    }


def script(parser: argparse.ArgumentParser, shell: str, names: Mapping[str, Sequence[str]]) -> str:
    """Source of a shell's completion, in which arguments take some of `names` (kind → names), or files."""
    for command, action in _actions(parser):
        argument = next(iter(action.option_strings), action.dest)
        kinds = TAKES.get(f"{command} {argument}", TAKES.get(argument, ()))
        if kinds:
            words = (shlex.quote(name) for kind in kinds for name in names[kind])
            _complete(action, shtab.cmd("printf '%s\\n' " + " ".join(words)))
        elif action.type is Path or argument in FOLDERS:
            _complete(action, shtab.FILE)
    return shtab.complete(parser, shell)


def _complete(action: argparse.Action, by: object) -> None:
    action.complete = by  # type: ignore[attr-defined]  # where shtab looks for it


def _actions(parser: argparse.ArgumentParser, command: str = "") -> Iterator[tuple[str, argparse.Action]]:
    """Every argument of a parser and of its commands, with the name of its command."""
    for action in parser._actions:  # argparse names them nowhere else
        yield command, action
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield from _actions(sub, command or name)
