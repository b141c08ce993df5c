"""Control predictions whose scores are known beforehand: the reference itself, nothing, and a class prior.

A table that contains them can be read: the oracle shows what the convention gives for perfection, the empty prediction
what it gives for doing nothing, the class prior what position alone is worth.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmark.errors import InputError
from benchmark.files import atomic_path
from benchmark.images.label_names import read_labels_file, with_ignore
from benchmark.layout import CONTROLS
from benchmark.progress import track
from benchmark.scoring.images import find_cases, read_geometry, read_labels, write_labels
from benchmark.scoring.instances import encode_boundaries

PRIOR_CELLS = 48  # per axis; fine enough for organs, and 118 classes fit in 60 MB


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("control", choices=CONTROLS)
    parser.add_argument("--reference", type=Path, required=True, help="folder of the references to be scored against")
    parser.add_argument("--training", type=Path, help="folder of the training references, for class_prior")
    parser.add_argument("--labels", type=Path, required=True, help="labels file; other values become background")
    parser.add_argument(
        "--ignore-label", type=int, help="value of voxels that nobody labelled (default: from --labels)"
    )
    parser.add_argument("--instances", action="store_true", help="references are instance maps (oracle: three classes)")
    parser.add_argument("--out", type=Path, required=True, help="folder of predictions to write")


def main(arguments: argparse.Namespace) -> int | None:
    labels = with_ignore(read_labels_file(arguments.labels), arguments.ignore_label, where=arguments.labels)
    write_control(
        arguments.control,
        references=find_cases(arguments.reference).values(),
        out=arguments.out,
        labels=tuple(labels.names),
        ignore=labels.ignore,
        training=find_cases(arguments.training).values() if arguments.training else (),
        instances=arguments.instances,
    )
    return None


def write_control(
    control: str,
    *,
    references: Iterable[Path],
    out: Path,
    labels: Sequence[int],
    training: Iterable[Path] = (),
    instances: bool = False,
    ignore: int | None = None,
) -> None:
    """Write the predictions of one control, one file per reference with its name, grid and format.

    Args:
        control: one of CONTROLS.
        references: reference label maps.
        out: folder to write to.
        labels: the values that count; others are background.
        training: references the class prior is counted from; all of the dimension of `references`.
        instances: references are instance maps; controls are written as interior (1) and boundary (2).
        ignore: value of voxels that nobody labelled: not counted for the prior, background elsewhere.

    Raises:
        InputError: if the control is unknown, or the class prior has nothing to count.
    """
    if control not in CONTROLS:
        raise InputError("Unknown control", expected=", ".join(CONTROLS), found=control)
    references = list(references)
    prior = (
        class_prior(training, labels=labels, instances=instances, ignore=ignore) if control == "class_prior" else None
    )
    for path in track(references, total=len(references), description=control):
        geometry = read_geometry(path)
        if prior is not None:
            predicted = spread_prior(prior, geometry.file_shape)
        elif control == "oracle":
            predicted = _read(path, labels, instances, ignore)
        else:
            predicted = np.zeros(geometry.shape, np.uint8)
        with atomic_path(out / path.name) as temporary:
            write_labels(temporary, predicted, geometry=geometry)


def class_prior(
    training: Iterable[Path], *, labels: Sequence[int], instances: bool = False, ignore: int | None = None
) -> np.ndarray:
    """Most frequent label at every normalised position.

    Each training map is sampled at the centres of PRIOR_CELLS equal parts per axis; ties go to the smaller value.
    Voxels with the value `ignore` are not counted.

    Returns:
        label map with PRIOR_CELLS positions per axis.
    """
    counts: np.ndarray | None = None
    values = np.array([0, *sorted(labels)])
    for path in training:
        label_map = read_labels(path)
        labelled = label_map.array.reshape(label_map.geometry.file_shape) != ignore  # a slice among volumes is a volume
        array = _kept(label_map.array, labels, instances, ignore).reshape(labelled.shape)
        if counts is None:
            counts = np.zeros((len(values), *(PRIOR_CELLS,) * array.ndim), np.uint32)
        centres = [((np.arange(PRIOR_CELLS) + 0.5) * length / PRIOR_CELLS).astype(int) for length in array.shape]
        sampled = np.searchsorted(values, array[np.ix_(*centres)])
        np.add.at(counts, (sampled, *np.indices(sampled.shape, sparse=True)), labelled[np.ix_(*centres)])
    if counts is None:
        raise InputError("The class prior needs training references", remedy="pass their folder with --training")
    return values.astype(np.min_scalar_type(int(values.max())))[counts.argmax(axis=0)]


def spread_prior(prior: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The prior on a grid: every voxel takes the value of the part of the axis that it lies in."""
    parts = [((np.arange(length) + 0.5) * PRIOR_CELLS / length).astype(int) for length in shape]
    return prior[np.ix_(*parts)]


def median_radii(training: Iterable[np.ndarray], axis: int) -> dict[int, float]:
    """Radius in pixels of the disc that has, for each class, the median area over the slices that show it.

    Args:
        training: label maps [*spatial] of the training cases, sliced along `axis`.
    """
    areas: dict[int, list[int]] = {}
    for labels in training:
        for plane in np.moveaxis(labels, axis, 0):
            for value, count in enumerate(np.bincount(plane.ravel())):
                if value and count:
                    areas.setdefault(value, []).append(int(count))
    return {value: float(np.sqrt(np.median(counts) / np.pi)) for value, counts in sorted(areas.items())}


def paint_discs(
    points: Mapping[int, Mapping[int, tuple[int, int]]], radii: Mapping[int, float], shape: Sequence[int], axis: int
) -> np.ndarray:
    """What a point alone is worth: a disc of the class's median size around each, uint8 [*shape].

    Where discs overlap, a pixel belongs to the one that it lies deepest in, as the higher logit wins among masks. A
    class without a radius, which no training slice shows, is its point alone.

    Args:
        points: slice along `axis` → class → (x, y), column and row.
    """
    labels = np.zeros(tuple(shape), np.uint8)
    planes = np.moveaxis(labels, axis, 0)
    rows, columns = np.indices(planes.shape[1:], sparse=True)
    for number, by_class in points.items():
        deepest = np.zeros(planes.shape[1:])
        for value, (x, y) in by_class.items():
            depth = max(radii.get(value, 0.0), 0.5) - np.hypot(columns - x, rows - y)
            planes[number][depth > deepest] = value
            deepest = np.maximum(deepest, depth)
    return labels


def _read(path: Path, labels: Sequence[int], instances: bool, ignore: int | None) -> np.ndarray:
    return _kept(read_labels(path).array, labels, instances, ignore)


def _kept(array: np.ndarray, labels: Sequence[int], instances: bool, ignore: int | None) -> np.ndarray:
    """The labels that count, others background; instances as interior and boundary."""
    if instances:
        return encode_boundaries(array if ignore is None else np.where(array == ignore, 0, array))
    kept = np.zeros(int(array.max(initial=0)) + 1, array.dtype)
    listed = [label for label in labels if label < len(kept)]
    kept[listed] = listed
    return kept[array]
