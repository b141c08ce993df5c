"""`prompts`: one point for every class that the reference shows in a slice, into a file that all networks are told.

It reads references of the cases that are scored. Whatever is predicted from the file knows which structures a slice
shows and where one pixel of each lies, and every table that shows such a row says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark import lineage
from benchmark.data.prompts import Points, check_points, points_of, read_points
from benchmark.data.split import read_split
from benchmark.data.store import PreparedStore
from benchmark.errors import InputError
from benchmark.files import write_json
from benchmark.progress import say
from benchmark.settings import RunConfig


def draw_prompts(
    config: RunConfig,
    store: PreparedStore,
    split: dict[str, Any],
    out: Path,
    *,
    given: Mapping[str, Points] | None = None,
) -> dict[str, Any]:
    """Write the points of the cases of `config.inference.splits`.

    Args:
        given: somebody's own points by case, checked against the references; None: drawn.

    Raises:
        InputError: there is no case, a given point is none of its class, or a case has no given points.
    """
    cases = [case for case in config.inference.cases(split) if case in set(store.cases)]
    if not cases:
        raise InputError("there is no case to draw points of", where=store.folder)
    axis = config.inference.slice_axis
    points: dict[str, Points] = {}
    for case in cases:
        labels = store.open(case).labels[:]
        labels[labels == store.ignore_label] = 0  # no structure
        if given is None:
            points[case] = points_of(labels, case, axis, config.inference.point)
        elif case in given:
            points[case] = given[case]
            check_points(points[case], labels, axis, where=case)
        else:
            raise InputError("a case has no points", where=case, expected="one per class and slice that shows it")
    made = lineage.prompts(config, references=store.digest_of(cases, "reference"))
    if given is not None:
        made["given"] = lineage.digest_of({case: _plain(points[case]) for case in cases})
    content = {
        "points": {case: _plain(points[case]) for case in cases},
        "coordinates": "(x, y) of the prepared slice: column and row, the first pixel at 0",
        "made": made,
    }
    write_json(out, content)
    number = sum(len(by_class) for case in cases for by_class in points[case].values())
    say(f"{config.dataset}: {number} points in the slices of {len(cases)} cases, from their references, in {out}")
    return content


def _plain(points: Points) -> dict[str, dict[str, list[int]]]:
    return {
        str(number): {str(value): list(point) for value, point in by_class.items()}
        for number, by_class in points.items()
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from benchmark.catalog.arguments import add_run_arguments

    add_run_arguments(parser)
    parser.add_argument("--store", type=Path, required=True, help="prepared.json written by prepare")
    parser.add_argument("--split", type=Path, required=True, help="split.json written by split")
    parser.add_argument("--points", type=Path, help="your own points in place of drawn ones; checked first")
    parser.add_argument("--out", type=Path, required=True, help="prompts.json to write")


def main(arguments: argparse.Namespace) -> None:
    from benchmark.catalog.arguments import run_config

    given = None if arguments.points is None else read_points(arguments.points)
    store, split = PreparedStore(arguments.store.parent), read_split(arguments.split)
    draw_prompts(run_config(arguments), store, split, arguments.out, given=given)
