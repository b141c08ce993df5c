"""The command line: one command per stage, each in its own module, imported only when it is called."""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmark import __version__
from benchmark.catalog.arguments import write_record
from benchmark.errors import EXIT_INPUT, InputError

COMMANDS = {
    # command: (module, what it does)
    "list": ("benchmark.catalog.list", "show papers, targets, runs, networks, datasets, conventions, weights"),
    "plan": ("benchmark.cost.plan", "runs, steps, disk and GPU-hours of targets, before anything starts"),
    "schedule": ("benchmark.cost.schedule", "when everything would be finished on so many GPUs, simulated"),
    "explain": ("benchmark.catalog.explain", "the whole derivation of one cell"),
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
    "page": ("benchmark.page.page", "one offline file with every published number, its verdict and what it rests on"),
    "figure": ("benchmark.evidence.figure", "rebuild a figure, or draw it from published numbers"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 2 wrong input, 75 stopped in order: run again to continue)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="python -m benchmark", description=__doc__)
    parser.add_argument("--version", action="version", version=f"retable {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    asked = arguments[0] if arguments else None
    modules = {}
    for name, (module, help_text) in COMMANDS.items():
        sub = commands.add_parser(name, help=help_text, description=help_text)
        if name == asked:
            modules[name] = importlib.import_module(module)
            modules[name].add_arguments(sub)
    parsed = parser.parse_args(arguments)
    try:
        code = modules[parsed.command].main(parsed) or 0
        if code == 0:
            write_record(parsed)
        return code
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_INPUT
