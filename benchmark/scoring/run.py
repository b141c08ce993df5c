"""`python -m benchmark score-run`: scores of one run's predictions, or of the controls, by the run's own convention."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.catalog.arguments import add_run_arguments, run_config
from benchmark.catalog.layout import CONTROLS
from benchmark.catalog.settings import RunConfig
from benchmark.errors import InputError
from benchmark.files import read_json
from benchmark.images.label_names import LabelNames, read_labels_file
from benchmark.scoring.controls import write_control
from benchmark.scoring.conventions import Convention, get_convention
from benchmark.scoring.folders import CaseFiles, pair_cases, score_folders
from benchmark.scoring.score import applicable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_arguments(parser)
    parser.add_argument("--store", type=Path, required=True, help="prepared.json, with the references beside it")
    parser.add_argument("--split", type=Path, required=True, help="split.json")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--predictions", type=Path, help="folder <case>.nii.gz")
    source.add_argument("--controls", action="store_true", help="score every control in place of a run's predictions")
    parser.add_argument("--out", type=Path, required=True, help="scores.parquet to write; for controls their folder")


def main(arguments: argparse.Namespace) -> None:
    config = run_config(arguments)
    store, split = arguments.store.parent, read_json(arguments.split)
    if not arguments.controls:
        score(config, store, split, predictions=arguments.predictions, out=arguments.out, run=config.run)
        return
    for control in CONTROLS:
        out = arguments.out / control / "scores.parquet"
        predict_as_control(control, config, store, split, out=out.parent / "predictions")
        score(config, store, split, predictions=out.parent / "predictions", out=out, run=f"control/{control}")


def predict_as_control(control: str, config: RunConfig, store: Path, split: dict[str, Any], *, out: Path) -> None:
    """What `control` would predict for the cases that the run predicts, into the folder `out`."""
    labels = read_labels_file(store / "labels.json")
    write_control(
        control,
        references=[store / "references" / f"{case}.nii.gz" for case in config.inference.cases(split)],
        out=out,
        labels=tuple(labels.names),
        ignore=labels.ignore,
        training=[store / "references" / f"{case}.nii.gz" for case in split["train"]],
        instances=get_convention(config.convention).instances is not None,
    )


def score(config: RunConfig, store: Path, split: dict[str, Any], *, predictions: Path, out: Path, run: str) -> None:
    """Score `predictions` as those of the run are scored, under the name `run`, into `out` (scores.parquet)."""
    labels = read_labels_file(store / "labels.json")
    cases = choose_cases(pair_cases(store / "references", predictions), config.inference.cases(split), store=store)
    score_folders(
        cases,
        out,
        labels=labels.names,
        ignore=labels.ignore,
        conventions=conventions_of(config, labels, cases),
        run=run,
        metadata={"config_digest": config.digest, "scale": config.scale},
    )


def choose_cases(cases: Sequence[CaseFiles], wanted: Sequence[str], *, store: Path) -> list[CaseFiles]:
    """The cases of the run's splits, in the split's order; one without a prediction stays, and scores as missing.

    Raises:
        InputError: the store has no reference for a case of the split.
    """
    known = {files.case: files for files in cases}
    absent = [case for case in wanted if case not in known]
    if absent:
        raise InputError(
            "cases of the split have no reference in the store",
            where=store / "references",
            found=", ".join(absent[:10]),
            remedy="prepare the dataset again",
        )
    return [known[case]._replace(index=index) for index, case in enumerate(wanted)]


def conventions_of(config: RunConfig, labels: LabelNames, cases: Sequence[CaseFiles]) -> list[Convention]:
    """The convention of the run's protocol and, for the same metrics, `canonical`, in which failure never helps."""
    convention = get_convention(config.convention)
    canonical = get_convention("canonical")
    conventions = applicable([convention, canonical], convention.default_metrics, labels.names, cases)
    if convention.name not in {usable.name for usable in conventions}:
        raise InputError(
            f"the run's convention {convention.name} cannot score these cases",
            where=cases[0].reference.parent,
            expected="cases that it applies to; the line above says why it does not",
        )
    return conventions
