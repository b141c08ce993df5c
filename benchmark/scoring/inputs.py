"""What `retable score` is given: where label maps lie, what their values and the compared methods are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmark.errors import InputError
from benchmark.images.files import stem_of
from benchmark.images.label_names import LabelNames, read_labels_file, with_ignore
from benchmark.progress import say
from benchmark.scoring.images import read_labels


def places_of(
    maps: Sequence[Path], reference: Path | None, predictions: Sequence[Path] | None
) -> tuple[Path, list[Path]]:
    """References and predictions, each given by its place among `maps` or by its option.

    Raises:
        InputError: one of them is not given, or there is one too many.
    """
    maps = list(maps)
    if reference is None and maps:
        reference = maps.pop(0)
    if not predictions:
        predictions, maps = maps, []
    if reference is None or not predictions or maps:
        given = maps or ([reference] if reference else [])
        raise InputError(
            "references and predictions are compared" if not maps else "predictions are given twice",
            expected="retable score REFERENCES PREDICTIONS, two folders or two files",
            found=", ".join(map(str, given)) or "none",
        )
    return reference, list(predictions)


def label_names(reference: Path, labels: Path | None, ignore: int | None) -> LabelNames:
    """The names of label values: of the file `labels`, of nnU-Net's dataset.json in or beside the references, or, where
    the reference is a single file, its own values.

    Raises:
        InputError: there is none, one that cannot be read, or it contradicts `ignore`.
    """
    around = (reference, reference.resolve().parent, reference.resolve().parent.parent)
    folders = around[1:] if reference.is_file() else around[:2]
    path = labels or next((folder / "dataset.json" for folder in folders if (folder / "dataset.json").is_file()), None)
    if path is not None:
        return with_ignore(read_labels_file(path), ignore, where=path)
    if reference.is_file():
        values = [int(value) for value in np.unique(read_labels(reference).array) if value and value != ignore]
        if not values:
            raise InputError("the reference is empty", where=reference, remedy="name the classes with --labels")
        say(f"no names of labels: classes are the values of {reference.name}: {', '.join(map(str, values))}")
        return LabelNames({value: str(value) for value in values}, ignore)
    raise InputError(
        "the names of the classes are not known",
        where=reference,
        expected="--labels, or nnU-Net's dataset.json in or beside the folder",
        found="neither",
        remedy="give --labels FILE, json or yaml with a name for each value: {1: liver, 2: spleen}",
    )


def method_names(places: Sequence[Path], given: Sequence[str] | None) -> list[str]:
    """A name for each folder or file of predictions: those given, else their own, with their parents' where two agree.

    Raises:
        InputError: there are more or fewer names than places, or one stands twice.
    """
    paths = [place.resolve() for place in places]
    own = [stem_of(path) if path.is_file() else path.name for path in paths]
    names = list(given or own)
    if given is None and len(set(names)) < len(names):
        names = [f"{path.parent.name}/{name}" for path, name in zip(paths, own, strict=True)]
    if len(names) != len(paths) or len(set(names)) < len(names):
        raise InputError(
            "every folder of predictions needs a name of its own",
            expected=f"--run with {len(paths)} different names",
            found=", ".join(names),
        )
    return names
