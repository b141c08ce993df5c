"""`retable completion SHELL`: a script by which a shell completes commands, options and names of targets."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator

import shtab

from benchmark.catalog.catalog import load_catalog


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)


def main(arguments: argparse.Namespace) -> None:
    """Print the script. `arguments.parser` is the whole command line, with the arguments of every command."""
    print(script(arguments.parser, arguments.shell, load_catalog().targets))


def script(parser: argparse.ArgumentParser, shell: str, targets: Iterable[str]) -> str:
    """Source of a shell's completion; arguments that are called `target` complete to one of `targets`."""
    names = shtab.cmd("printf '%s\\n' " + " ".join(targets))
    for action in _actions(parser):
        if action.dest == "target":
            action.complete = names  # type: ignore[attr-defined]  # where shtab looks for it
    return shtab.complete(parser, shell)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every argument of a parser and of its commands."""
    for action in parser._actions:  # argparse names them nowhere else
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
