"""The command line: one command per stage, each in its own module, imported only when it is called."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from types import ModuleType

from benchmark.catalog.arguments import write_record
from benchmark.errors import EXIT_INPUT, IN_WORKFLOW, REFUSED, InputError, PassingFault, did_you_mean, near_names
from benchmark.own import use_folders
from benchmark.version import code_version

COMMANDS = {
    # command: (module, what it does)
    "list": ("benchmark.catalog.list", "show papers, targets, runs, networks, datasets, conventions, weights"),
    "plan": ("benchmark.cost.plan", "runs, steps, disk and GPU-hours of targets, before anything starts"),
    "schedule": ("benchmark.cost.schedule", "when everything would be finished on so many GPUs, simulated"),
    "explain": ("benchmark.audit.explain", "one cell: printed, rebuilt, the verdict and why, and the whole derivation"),
    "new": ("benchmark.catalog.new", "a skeleton of one's own method, data set or paper"),
    "check": (
        "benchmark.exchange.check",
        "hold a folder of one's own to what holds for every network, data set and run",
    ),
    "export": ("benchmark.exchange.export", "a trained run for MONAI or in nnU-Net's words; all results as a table"),
    "schema": ("benchmark.jobs.schema", "write the JSON schemas and the default configuration"),
    "fetch": ("benchmark.data.fetch", "download a dataset, or note where a local copy is"),
    "fetch-weights": ("benchmark.data.fetch_weights", "a released file of weights: download or find it, and check it"),
    "verify": ("benchmark.data.verify", "list every fault of every raw case"),
    "split": ("benchmark.data.split", "write or check the split by patient"),
    "prepare": ("benchmark.data.prepare", "raw cases to the prepared-case store"),
    "prompts": ("benchmark.data.draw_prompts", "points of the test cases' structures, for networks asked by points"),
    "train": ("benchmark.training.train", "train one run, or continue it"),
    "predict": ("benchmark.inference.predict", "label the cases of a trained run"),
    "receptive-field": ("benchmark.inference.receptive_field", "how far the encoder of a trained run sees"),
    "reconstruct": ("benchmark.inference.reconstruct", "what a network trained on masked images makes of some"),
    "features": ("benchmark.inference.features", "what the layers of a trained network see"),
    "score": ("benchmark.scoring.score", "score a folder of predictions against references"),
    "score-run": ("benchmark.jobs.score_run", "score the predictions of one run, or its controls, by its convention"),
    "controls": ("benchmark.scoring.controls", "predictions of the oracle, empty and class-prior controls"),
    "cost": ("benchmark.cost.cost", "parameters and FLOPs of a target's networks"),
    "latency": ("benchmark.cost.latency", "time of one scan, as the paper defines it"),
    "table": ("benchmark.evidence.table", "rebuild a table beside the published one"),
    "coverage": ("benchmark.audit.coverage", "every published number: how it is rebuilt, what it needs, its state"),
    "audit": ("benchmark.audit.audit", "what the papers' own numbers say about each other"),
    "budget": (
        "benchmark.cost.budget_page",
        "runs, steps, GPU-hours, disk and licences of every target, as a page",
    ),
    "draw-cases": ("benchmark.page.draw_cases", "small pictures of a run's cases, with reference and prediction"),
    "page": ("benchmark.page.page", "one offline file with every published number, its verdict and what it rests on"),
    "figure": ("benchmark.evidence.figure", "rebuild a figure, or draw it from published numbers"),
    "completion": ("benchmark.catalog.completion", "print what makes a shell complete commands, options and targets"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 2 wrong input, 75 stopped in order: run again to continue)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        asked = arguments[0] if arguments else ""
        if asked not in COMMANDS and not asked.startswith("-") and near_names(asked, COMMANDS):
            raise InputError(
                f"there is no command {asked!r}{did_you_mean(asked, COMMANDS)}", expected="see retable --help"
            )
        parser, modules = build_parser(arguments[:1])
        parsed = parser.parse_args(arguments)
        if parsed.command == "completion":
            parsed.parser, _ = build_parser(COMMANDS, forgive=True)
        if parsed.papers:
            use_folders(parsed.papers)
        code = modules[parsed.command].main(parsed) or 0
        if code == 0:
            write_record(parsed)
        return code
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        if os.environ.get(IN_WORKFLOW) and not isinstance(error, PassingFault):
            print(f"{REFUSED}{datetime.now(UTC).isoformat()}", file=sys.stderr)
        return EXIT_INPUT
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def build_parser(
    asked: Iterable[str], *, forgive: bool = False
) -> tuple[argparse.ArgumentParser, dict[str, ModuleType]]:
    """A parser that knows all commands, and of those that are asked for the arguments as well; their modules.

    Raises:
        InputError: a command needs a package that is not installed; with `forgive` it stays without arguments.
    """
    parser = argparse.ArgumentParser(prog="retable", description=__doc__)
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="package and commit of a clone")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    modules = {}
    for name, (module, help_text) in COMMANDS.items():
        sub = commands.add_parser(name, help=help_text, description=help_text)
        if name in asked:
            try:
                modules[name] = _import(name, module)
            except InputError:
                if not forgive:
                    raise
            else:
                modules[name].add_arguments(sub)
                sub.add_argument("--papers", action="append", default=[], metavar="DIR", help="a folder of one's own")
    return parser, modules


class _ShowVersion(argparse.Action):
    """Asks for the version when it is wanted: in a clone that starts git."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"retable {code_version()}")
        parser.exit()


def _import(command: str, module: str) -> ModuleType:
    """The module of a command; without the extra `train`, those that need torch and its like say so."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "benchmark":
            raise
        raise InputError(
            f"`retable {command}` needs a package that is not installed here",
            expected=error.name,
            remedy="install what trains and predicts: pip install 'retable[train]', or make .venv/installed in a clone",
        ) from error
