"""Results made elsewhere: which files stand in for which runs, from the configuration's `predictions` and `scores`.

A run that was handed in is neither trained nor predicted here, also where it could not be. A file that is not there
makes its cells `not attempted` and stops nothing: a lab hands in one row after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

from benchmark.catalog.catalog import Catalog
from benchmark.catalog.reading import pick
from benchmark.errors import InputError
from benchmark.jobs.configuration import WorkflowConfig

Kind = Literal["predictions", "scores"]
INSIDE = {"predictions": "", "scores": "/scores.parquet"}  # of a folder of all runs: what stands for one of them
EXAMPLES = {"predictions": "/lab/unetr", "scores": "/lab/unetr/scores.parquet"}


def handed_in(settings: WorkflowConfig, catalog: Catalog) -> dict[Kind, dict[str, str]]:
    """Kind → run → folder of label maps, or file of scores; an empty path where `start_from` lets nothing be trained
    and nothing was given for a run.

    Raises:
        InputError: `start_from` names a kind of which nothing is given; a folder of all runs is not there although the
            others are to be trained; a target, row or run is unknown; or a row rests on several runs.
    """
    start: Kind | None = None if settings.start_from == "data" else settings.start_from
    if start and not getattr(settings, start):
        raise InputError(
            f"start_from: {start} without {start}",
            where="configuration (--config, --configfile or the profile)",
            expected=f"--config {start}=FOLDER with <run id>{INSIDE[start] or '/*.nii.gz'}, or "
            f"'{start}={{table1_totalseg: {{UNETR: {EXAMPLES[start]}}}}}'",
            found="neither",
            remedy=f"give the {start}, or leave out start_from, to train everything",
        )
    runs = list(dict.fromkeys(run for target in catalog.targets.values() for run in catalog.runs(target, scored=True)))
    named: dict[Kind, dict[str, str]] = {
        kind: dict(_named(kind, getattr(settings, kind), catalog, runs)) for kind in get_args(Kind)
    }
    for kind, paths in named.items():
        if isinstance(getattr(settings, kind), str):
            paths |= _in_folder(kind, getattr(settings, kind), runs, required=start == kind)
    if start == "scores":  # label maps that are there are scored where scores are not
        scores = named["scores"].items()
        named["scores"] = {run: path for run, path in scores if Path(path).is_file() or run not in named["predictions"]}
    if start:
        for run in runs:
            if run not in named["predictions"] and run not in named["scores"]:
                named[start][run] = ""
    return named


def _in_folder(kind: Kind, folder: str, runs: list[str], *, required: bool) -> dict[str, str]:
    """What lies in a folder of all runs; with `required` also what should."""
    if not required and not Path(folder).is_dir():
        raise InputError(
            f"there is no folder of {kind}",
            where=f"configuration: {kind}",
            found=folder,
            remedy=f"correct the path; with start_from={kind}, cells without {kind} are not attempted, and not trained",
        )
    paths = {run: f"{folder}/{run}{INSIDE[kind]}" for run in runs}
    return {run: path for run, path in paths.items() if required or Path(path).exists()}


def _named(kind: Kind, given: object, catalog: Catalog, runs: list[str]) -> Iterator[tuple[str, str]]:
    """Run and path of every entry of a mapping by run id or by row of a target."""
    where = f"configuration: {kind}"
    for name, entry in given.items() if isinstance(given, Mapping) else ():
        if isinstance(entry, str):
            yield pick({run: run for run in runs}, name, "scored run", where), entry
            continue
        target = pick(catalog.targets, name, "target", where)
        for row, path in entry.items():
            pick(target.rows, row, "row", f"{where}: {name}")
            own = catalog.runs(target, scored=True, rows=[row])
            if len(own) != 1:
                raise InputError(
                    f"{row} of {name} rests on {len(own)} runs" if own else f"{row} of {name} is not scored",
                    where=where,
                    expected=f"{kind} by run id" if own else "a row with scores",
                    found=path,
                    remedy="name them: " + ", ".join(f"{run}: …" for run in own) if own else None,
                )
            yield own[0], path
