"""`python -m benchmark draw-cases`: a small picture of a run's cases, with the outlines of reference and prediction.

Of at most `ALL_SHOWN` cases each is drawn, of more the worst, the median one and the best by the mean over structures.
A volume is shown on one slice: the middle one of those in which its reference has a structure.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark import lineage
from benchmark.catalog.arguments import add_run_arguments, run_config
from benchmark.datasets import Case, get_dataset
from benchmark.datasets.base import IGNORED
from benchmark.errors import InputError
from benchmark.evidence.panel_data import View, cases_at, label_map, reference_of
from benchmark.evidence.scores import RunScores, read_scores
from benchmark.files import atomic_path, write_json
from benchmark.page.case_scores import case_means, main_metric, ranked, shown_cases
from benchmark.page.outlines import draw_outlines
from benchmark.progress import say
from benchmark.settings import RunConfig
from benchmark.version import code_version


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_arguments(parser)
    parser.add_argument("--store", type=Path, required=True, help="prepared.json, with the references beside it")
    parser.add_argument("--source", type=Path, required=True, help="source.json: where the raw images are")
    parser.add_argument("--predictions", type=Path, required=True, help="folder <case>.nii.gz")
    parser.add_argument("--scores", type=Path, required=True, help="scores.parquet of the run")
    parser.add_argument("--out", type=Path, required=True, help="record (.json); pictures go into the folder beside it")


def main(arguments: argparse.Namespace) -> None:
    """Write `<out's name>/<case>.png` and then the record `out`.

    Raises:
        InputError: the scores are of another run, or the raw images have gone.
    """
    config = run_config(arguments)
    scores = read_scores([arguments.scores]).get(config.run)
    if scores is None:
        raise InputError("the scores are of another run", where=arguments.scores, expected=config.run)
    drawn = draw_cases(
        config, scores, store=arguments.store.parent, source=arguments.source,
        predictions=arguments.predictions, folder=arguments.out.with_suffix(""),
    )  # fmt: skip
    made = lineage.case_pictures(scores=lineage.recorded_digest(arguments.scores.with_name("scores.json")))
    write_json(arguments.out, {"run": config.run, **drawn, "made": made, "code_version": code_version()})
    say(f"{config.run}: {len(drawn['pictures'])} pictures in {arguments.out.with_suffix('')}")


def draw_cases(
    config: RunConfig, scores: RunScores, *, store: Path, source: Path, predictions: Path, folder: Path
) -> dict[str, Any]:
    """Draw the pictures of a run into `folder`.

    Args:
        store: folder with `references/<case>.nii.gz`.
        source: source.json of the dataset.
        predictions: folder <case>.nii.gz; of a case without one, the reference is drawn alone.

    Returns:
        `metric` by which cases are in order, `cases` (how many have a value), and `pictures`: file (beside the record),
        case, place ("worst", …), slice (None for an image), and whether there is a prediction.

    Raises:
        InputError: the raw image of a case is not there, or a label map has another shape.
    """
    metric = main_metric(config.convention)
    ranking = ranked(case_means(scores, metric, config.convention), metric)
    raw, pictures = cases_at(source, config.dataset), []
    for case, place in shown_cases(ranking).items():
        if case not in raw:
            raise InputError("a scored case has no raw image", where=source, found=case, remedy="fetch the data again")
        file = folder / f"{case}.png"
        shown = _draw(config, raw[case], store, predictions / f"{case}.nii.gz", file)
        pictures.append({"case": case, "place": place, "file": f"{folder.name}/{file.name}", **shown})
    return {"metric": metric, "cases": len(ranking), "pictures": pictures}


def _draw(config: RunConfig, case: Case, store: Path, predicted: Path, out: Path) -> dict[str, Any]:
    image, affine = get_dataset(config.dataset).load_image(case)
    reference = reference_of(config, case, store)
    view = View.of(reference, affine, middle_slice)
    prediction = label_map(predicted) if predicted.is_file() else None
    shape = prediction.shape if prediction is not None else reference.shape
    if not image.shape[1:] == reference.shape == shape:
        raise InputError(
            f"labels of {case.id} are on another grid than its image",
            where=predicted,
            expected=image.shape[1:],
            found=f"reference {reference.shape}, prediction {shape}",
            remedy="predict on the raw grid",
        )
    picture = draw_outlines(
        view.picture(image),
        view.plane(_known(reference)),
        None if prediction is None else view.plane(prediction),
        aspect=view.aspect,
    )
    with atomic_path(out) as temporary:
        picture.save(temporary, optimize=True)
    return {"slice": view.index, "predicted": prediction is not None}


def _known(reference: NDArray) -> NDArray:
    """Without the voxels that nobody labelled."""
    return np.where(reference == IGNORED, 0, reference) if reference.dtype == np.uint8 else reference


def middle_slice(labels: NDArray) -> int:
    """Of a label map [X, Y, Z]: the middle one of the slices that have a structure; of an empty map the middle."""
    filled = np.flatnonzero((labels > 0).any(axis=(0, 1)))
    return int(filled[(len(filled) - 1) // 2]) if len(filled) else labels.shape[2] // 2
