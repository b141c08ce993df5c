"""`retable score-run`: scores of one run's predictions, or of the controls, by the run's own convention."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark import lineage
from benchmark.catalog.arguments import add_run_arguments, run_config
from benchmark.data.geometry import restore_labels
from benchmark.data.prompts import read_points
from benchmark.data.split import load_split
from benchmark.data.store import PreparedStore
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from benchmark.files import atomic_path, read_json, write_json
from benchmark.images.label_names import LabelNames, read_labels_file
from benchmark.layout import CONTROLS, NETWORK_GRID, POINT_CONTROL
from benchmark.scoring.controls import median_radii, paint_discs, write_control
from benchmark.scoring.conventions import Convention, convention_digests, scored_conventions
from benchmark.scoring.folders import score_folders
from benchmark.scoring.images import find_cases, read_geometry, write_labels
from benchmark.scoring.pairs import CaseFiles, NetworkGrid, pair_cases
from benchmark.scoring.score import applicable
from benchmark.settings import RunConfig
from benchmark.version import code_version


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_arguments(parser)
    parser.add_argument("--store", type=Path, required=True, help="prepared.json, with the references beside it")
    parser.add_argument("--split", type=Path, required=True, help="split.json")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--predictions", type=Path, help="folder <case>.nii.gz")
    source.add_argument("--controls", action="store_true", help="score every control in place of a run's predictions")
    parser.add_argument("--handed-in", action="store_true", help="the predictions were made elsewhere")
    parser.add_argument("--prompts", type=Path, help="with --controls: only that of a disc around each of these points")
    parser.add_argument("--out", type=Path, required=True, help="scores.parquet to write; for controls their folder")


def main(arguments: argparse.Namespace) -> None:
    config = run_config(arguments)
    store, split = arguments.store.parent, load_split(arguments.split)
    if arguments.controls and arguments.prompts:
        score_point_control(config, store, split, prompts=arguments.prompts, out=arguments.out)
    elif arguments.controls:
        score_controls(config, store, split, out=arguments.out)
    else:
        run_scored = score_handed_in if arguments.handed_in else score_predictions
        run_scored(config, store, split, predictions=arguments.predictions, out=arguments.out)


def score_predictions(config: RunConfig, store: Path, split: dict[str, Any], *, predictions: Path, out: Path) -> None:
    """Scores of a run's own predictions, and `scores.json`: what they were made of."""
    record = predictions.parent / "predicted.json"
    ours = lineage.read_made(record)
    if ours is None:
        raise InputError(
            "nothing says what these predictions were made of",
            where=record,
            expected="the record that `python -m benchmark predict` writes",
            remedy="if they were made elsewhere, add --handed-in",
        )
    made = _made_of_scores(lineage.digest_of(ours), config, store, split)
    before = {"predict": ours, "train": read_json(record).get("weights_made")}
    chain = {"chain": json.dumps({"score": made, **before}, sort_keys=True)}
    score(config, store, split, predictions=predictions, out=out, run=config.run, metadata=chain)
    write_json(out.with_name("scores.json"), {"made": made, "code_version": code_version()})


def score_handed_in(config: RunConfig, store: Path, split: dict[str, Any], *, predictions: Path, out: Path) -> None:
    """Scores of predictions made elsewhere, by settings that nobody here knows. They, and `scores.json`, say so by the
    digest of the files."""
    files = lineage.contents(predictions)
    made = _made_of_scores(lineage.contents_digest(files), config, store, split)
    about = {"chain": json.dumps({"score": made}), "handed_in": made["predictions"], "config_digest": ""}
    score(config, store, split, predictions=predictions, out=out, run=config.run, metadata=about)
    record = {"made": made, "code_version": code_version(), "handed_in": files}
    write_json(out.with_name("scores.json"), record)


def _made_of_scores(predictions: str, config: RunConfig, store: Path, split: dict[str, Any]) -> lineage.Made:
    return lineage.scored(
        predictions=predictions,
        references=PreparedStore(store).digest_of(config.inference.cases(split), "reference"),
        conventions=convention_digests(config.convention),
    )


def score_controls(config: RunConfig, store: Path, split: dict[str, Any], *, out: Path) -> None:
    """Scores of every control into `out/<control>/`, and `controls.json`: what they were made of."""
    for control in CONTROLS:
        path = out / control / "scores.parquet"
        predict_as_control(control, config, store, split, out=path.parent / "predictions")
        score(config, store, split, predictions=path.parent / "predictions", out=path, run=f"control/{control}")
    write_json(out / "controls.json", {"made": _made_of_controls(config, store, split), "code_version": code_version()})


def _made_of_controls(config: RunConfig, store: Path, split: dict[str, Any]) -> lineage.Made:
    made = lineage.scored(
        predictions="controls",
        references=PreparedStore(store).digest_of([*split["train"], *config.inference.cases(split)], "reference"),
        conventions=convention_digests(config.convention),
    )
    return made | lineage.code("controls")


def score_point_control(config: RunConfig, store: Path, split: dict[str, Any], *, prompts: Path, out: Path) -> None:
    """Scores of one point and a disc of median size, which a network that is told the points has to beat, into
    `out/point_disc/`, and `point_disc.json` beside it."""
    folder, axis, prepared = out / POINT_CONTROL, config.inference.slice_axis, PreparedStore(store)
    radii = median_radii((prepared.open(case).labels[:] for case in split["train"]), axis)
    points = read_points(prompts)
    for case in config.inference.cases(split):
        opened = prepared.open(case)
        discs = restore_labels(paint_discs(points[case], radii, opened.labels.shape, axis), opened.meta)
        reference = store / "references" / f"{case}.nii.gz"
        with atomic_path(folder / "predictions" / reference.name) as temporary:
            write_labels(temporary, discs, geometry=read_geometry(reference))
    run = f"control/{POINT_CONTROL}"
    score(config, store, split, predictions=folder / "predictions", out=folder / "scores.parquet", run=run)
    made = _made_of_controls(config, store, split) | {"prompts": lineage.recorded_digest(prompts)}
    write_json(out / f"{POINT_CONTROL}.json", {"made": made, "code_version": code_version()})


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
        instances=get_dataset(config.dataset).instances,
    )


def score(
    config: RunConfig,
    store: Path,
    split: dict[str, Any],
    *,
    predictions: Path,
    out: Path,
    run: str,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Score `predictions` as those of the run are scored, under the name `run`, into `out` (scores.parquet)."""
    labels = read_labels_file(store / "labels.json")
    cases = choose_cases(pair_cases(store / "references", predictions), config.inference.cases(split), store=store)
    if any(convention.grid == "network" for convention in scored_conventions(config.convention).values()):
        cases = on_network_grid(cases, config, predictions.parent / NETWORK_GRID, store)
    if any(convention.slices for convention in scored_conventions(config.convention).values()):
        axis = config.inference.slice_axis
        cases = [files._replace(slice_axis=_raw_axis(_turned(store, files.case), axis)) for files in cases]
    score_folders(
        cases,
        out,
        labels=labels.names,
        ignore=labels.ignore,
        conventions=conventions_of(config, labels, cases),
        run=run,
        metadata={"config_digest": config.digest, "scale": config.scale, **(metadata or {})},
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
    return [known[case]._replace(place=index) for index, case in enumerate(wanted)]


def on_network_grid(
    cases: Sequence[CaseFiles], config: RunConfig, folder: Path, store: Path | None = None
) -> list[CaseFiles]:
    """The cases with what a convention of the network's grid needs. A run's own labels there lie in `folder`; without
    them (controls, predictions made elsewhere) those on the raw grid are turned and resized as the reference is.

    Raises:
        InputError: volumes are resampled or cropped in preparation, so that the two grids do not correspond; they are
            turned and the store does not say how; or only some cases have labels of their own.
    """
    preparation, inference = config.preparation, config.inference
    unknown = ("orientation",) if store is None else ()
    changed = [name for name in ("spacing", *unknown, "foreground_above") if getattr(preparation, name) is not None]
    if changed:
        raise InputError(
            "the network's grid can only be scored on slices as they are stored",
            expected="null",
            found=f"a value of preparation.{', '.join(changed)}",
            remedy="choose a convention of the raw grid",
        )
    own = find_cases(folder) if folder.is_dir() else {}
    absent = [files.case for files in cases if own and files.prediction and files.case not in own]
    if absent:
        raise InputError(
            "cases have no labels on the network's grid", where=folder, found=absent, remedy="predict again"
        )
    size = inference.patch or config.training.patch
    turned = {files.case: _turned(store, files.case) for files in cases} if preparation.orientation and store else {}
    return [
        files._replace(network=NetworkGrid(size, inference.slice_axis, own.get(files.case), turned.get(files.case)))
        for files in cases
    ]


def _turned(store: Path, case: str) -> tuple[str, str] | None:
    """Axis codes of the raw and the prepared volume of a case; None where it was not turned."""
    codes = PreparedStore(store).open(case).meta["orientation"]
    return (codes["raw"], codes["prepared"]) if codes["raw"] else None


def _raw_axis(turned: tuple[str, str] | None, axis: int) -> int:
    """The axis of the raw volume that became `axis` of the prepared one."""
    if turned is None:
        return axis
    raw, prepared = turned
    pair = next(pair for pair in ("LR", "PA", "IS") if prepared[axis] in pair)
    return next(number for number, code in enumerate(raw) if code in pair)


def conventions_of(config: RunConfig, labels: LabelNames, cases: Sequence[CaseFiles]) -> list[Convention]:
    """The convention of the run's protocol and, for the same metrics, `canonical`, in which failure never helps.

    Raises:
        InputError: the run's own convention cannot score these cases.
    """
    conventions = list(scored_conventions(config.convention).values())
    usable = applicable(conventions, conventions[0].default_metrics, labels.names, cases)
    if config.convention not in {convention.name for convention in usable}:
        raise InputError(
            f"the run's convention {config.convention} cannot score these cases",
            where=cases[0].reference.parent,
            expected="cases that it applies to; the line above says why it does not",
        )
    return usable
