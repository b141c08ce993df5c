"""Scores of two folders of label maps: pairing, checks before the work starts, worker processes, one streamed file."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.errors import InputError
from benchmark.files import atomic_path, value_digest
from benchmark.images.files import UNREAD, ending_of, is_hidden
from benchmark.progress import say, track
from benchmark.scoring.aggregate import ScoreWriter
from benchmark.scoring.cases import Score, score_case
from benchmark.scoring.conventions import INSTANCE_METRICS, Convention
from benchmark.scoring.images import (
    LabelMap,
    check_geometry,
    find_cases,
    read_geometry,
    read_labels,
    resize_slices,
    turn_axes,
)
from benchmark.scoring.overlap import measure_overlap
from benchmark.scoring.slices import score_slices
from benchmark.version import code_version
from benchmark.workers import map_processes

FAULTS_SHOWN = 10


class NetworkGrid(NamedTuple):
    """How large a network sees the slices of a case, along which axis they lie, its labels there (None: they are made
    from those on the raw grid), and the axis codes of the raw and of the prepared volume (None: they are the same)."""

    size: tuple[int, ...]
    axis: int
    prediction: Path | None = None
    turned: tuple[str, str] | None = None


class CaseFiles(NamedTuple):
    """One case: its place in the order of output, id, reference file, prediction file (None where it is missing), what
    conventions of the network's grid need, and along which axis of its files slices lie (None: not known, or none)."""

    place: int
    case: str
    reference: Path
    prediction: Path | None
    network: NetworkGrid | None = None
    slice_axis: int | None = None


@dataclass(frozen=True)
class CaseScores:
    """Scores of one case, and values that counted as background.

    Attributes:
        unlisted: label values in its maps that the labels file does not list.
        undecoded: whether its prediction has values that no decoding of instances makes use of.
    """

    files: CaseFiles
    scores: list[Score]
    unlisted: tuple[int, ...]
    undecoded: bool = False


def pair_cases(reference: Path, prediction: Path) -> list[CaseFiles]:
    """All cases of the reference folder with their predictions; says which predictions belong to no reference.

    Raises:
        InputError: if a folder is absent or the reference folder holds no label map; if no prediction has the name of
            a reference; with the list of all predictions that lie on another grid than their reference.
    """
    references, predictions = find_cases(reference), find_cases(prediction)
    if not references:
        raise InputError(
            "There are no label maps",
            where=reference,
            expected="NIfTI, PNG or TIFF files",
            found=_contents(reference) or "nothing",
        )
    if not set(references) & set(predictions):
        raise _nothing_pairs(prediction, references, predictions)
    for folder, maps in ((reference, references), (prediction, predictions)):
        if others := _contents(folder, besides=maps.values()):
            say(f"not read as label maps in {folder}: {others}")
    surplus = sorted(set(predictions) - set(references))
    if surplus:
        near = _near_names(sorted(set(references) - set(predictions)), surplus)
        say(f"{len(surplus)} predictions without a reference are not scored: {', '.join(surplus[:FAULTS_SHOWN])}{near}")
    cases = [CaseFiles(i, case, path, predictions.get(case)) for i, (case, path) in enumerate(references.items())]
    faults = [str(fault) for fault in map(_geometry_fault, cases) if fault]
    if faults:
        more = [f"and {len(faults) - FAULTS_SHOWN} more"] if len(faults) > FAULTS_SHOWN else []
        raise InputError(
            f"{len(faults)} of {len(cases)} cases cannot be scored",
            found="\n" + "\n".join(faults[:FAULTS_SHOWN] + more),
        )
    return cases


def _nothing_pairs(folder: Path, references: Mapping[str, Path], predictions: Mapping[str, Path]) -> InputError:
    return InputError(
        "No prediction has the name of a reference",
        where=folder,
        expected=f"{len(references)} label maps: {', '.join(path.name for path in list(references.values())[:3])}, …",
        found=(_contents(folder) or "nothing") + _near_names(references, predictions),
        remedy="put the predictions into one folder, as NIfTI, PNG, BMP or TIFF, under the names of the references",
    )


def _near_names(references: Iterable[str], predictions: Iterable[str]) -> str:
    """The end of a message: references without a prediction, and the predictions whose names are nearest to theirs."""
    predictions = list(predictions)
    nearest = {
        case: difflib.get_close_matches(case, predictions, n=1, cutoff=0.5) for case in islice(references, FAULTS_SHOWN)
    }
    pairs = [f"{case} and {names[0]}" for case, names in nearest.items() if names]
    return f"; near each other: {', '.join(pairs[:3])}" if pairs else ""


def _contents(folder: Path, besides: Iterable[Path] = ()) -> str:
    """What lies in a folder, in a few words: label maps, folders, files in formats that are not read."""
    known = set(besides)
    paths = sorted(path for path in folder.iterdir() if not is_hidden(path) and path not in known)
    kinds: dict[str, list[str]] = {}
    for path in paths:
        if ending_of(path):
            kinds.setdefault("label maps", []).append(path.name)
        elif path.is_dir():
            kinds.setdefault("folders", []).append(path.name)
        elif ending_of(path, UNREAD):
            kinds.setdefault("files in formats that are not read", []).append(path.name)
    return ", ".join(f"{len(names)} {kind} ({', '.join(names[:3])})" for kind, names in kinds.items())


def _geometry_fault(files: CaseFiles) -> InputError | None:
    if files.prediction is None:
        return None
    try:
        check_geometry(read_geometry(files.reference), read_geometry(files.prediction), where=files.prediction)
    except InputError as fault:
        return fault
    return None


def score_files(
    files: CaseFiles,
    *,
    labels: Mapping[int, str],
    conventions: Sequence[Convention],
    metrics: Sequence[str] | None,
    ignore: int | None = None,
) -> CaseScores:
    """Read and score one case; see `score_case`. An InputError names the case's file.

    Args:
        ignore: voxels with this value in the reference count as background on both sides, as nobody labelled them.
    """
    reference = read_labels(files.reference)
    prediction = read_labels(files.prediction) if files.prediction else None
    labelled = without_ignored(reference, prediction, ignore)
    scores: list[Score] = []
    try:
        whole = [convention for convention in conventions if not convention.slices]
        for grid in dict.fromkeys(convention.grid for convention in whole):
            chosen = [convention for convention in whole if convention.grid == grid]
            if grid == "network":
                maps = without_ignored(*_on_network_grid(files, reference, prediction), ignore)
            else:
                maps = labelled
            scores += score_case(*maps, labels=labels, conventions=chosen, metrics=metrics)
        if sliced := [convention for convention in conventions if convention.slices]:
            scores += score_slices(*labelled, axis=files.slice_axis, labels=labels, conventions=sliced, metrics=metrics)
    except InputError as error:
        raise InputError(
            error.problem,
            where=error.where or files.reference,
            expected=error.expected,
            found=error.found,
            remedy=error.remedy,
        ) from error
    unlisted: tuple[int, ...] = ()
    truth, answer = labelled
    if answer is not None and any(score.metric.split("@")[0] not in INSTANCE_METRICS for score in scores):
        overlap = measure_overlap(truth.array, answer.array)
        found = np.flatnonzero(overlap.reference + overlap.prediction)
        unlisted = tuple(int(value) for value in found if value and value not in labels)
    undecoded = prediction is not None and _has_undecoded(prediction, scores, conventions)
    return CaseScores(files=files, scores=scores, unlisted=unlisted, undecoded=undecoded)


def _on_network_grid(
    files: CaseFiles, reference: LabelMap, prediction: LabelMap | None
) -> tuple[LabelMap, LabelMap | None]:
    if files.network is None:
        raise InputError("it is not known how large the network sees this case", remedy="score it with `score-run`")
    size, axis, path, turned = files.network

    def as_seen(labels: LabelMap) -> LabelMap:
        return resize_slices(labels if turned is None else turn_axes(labels, *turned), size, axis)

    reference = as_seen(reference)
    if prediction is None or path is None:
        return reference, None if prediction is None else as_seen(prediction)
    own = read_labels(path)
    check_geometry(reference.geometry, own.geometry, where=path)
    return reference, own


def without_ignored(
    reference: LabelMap, prediction: LabelMap | None, ignore: int | None
) -> tuple[LabelMap, LabelMap | None]:
    """Both maps with background where the reference has the value `ignore`; as they are where that is None.

    Overlap counts are then those of nnU-Net, which leaves such voxels out of them; surfaces of both maps end at the
    border of what was labelled.

    Raises:
        InputError: the maps lie on different grids.
    """
    ignored = None if ignore is None else reference.array == ignore
    if ignored is None or not ignored.any():
        return reference, prediction
    if prediction is not None:
        check_geometry(reference.geometry, prediction.geometry, where="prediction")

    def kept(labels: LabelMap) -> LabelMap:
        return LabelMap(np.where(ignored, labels.array.dtype.type(0), labels.array), labels.geometry)

    return kept(reference), None if prediction is None else kept(prediction)


def _has_undecoded(prediction: LabelMap, scores: Sequence[Score], conventions: Sequence[Convention]) -> bool:
    """Whether a prediction has larger values than those that its instances, if any were scored, are decoded from."""
    names = {score.convention for score in scores if score.metric.split("@")[0] in INSTANCE_METRICS}
    rules = [convention.instances for convention in conventions if convention.instances and convention.name in names]
    known = [max(rule.foreground, rule.boundary) for rule in rules if rule.decoding != "labels"]
    return bool(known) and int(prediction.array.max(initial=0)) > max(known)


def score_folders(
    cases: Sequence[CaseFiles],
    out: Path,
    *,
    labels: Mapping[int, str],
    conventions: Sequence[Convention],
    run: str,
    metrics: Sequence[str] | None = None,
    processes: int | None = None,
    metadata: Mapping[str, str] | None = None,
    ignore: int | None = None,
) -> None:
    """Score all cases in worker processes and stream the scores to one Parquet file, in the order of the cases.

    Memory does not grow with the number of cases: one pair of maps per process, one row group of scores.

    Args:
        cases: from `pair_cases`.
        out: Parquet file with the columns run, case, class, metric, value, convention, status; written atomically.
        labels: label value → class name.
        run: written to every row.
        metrics: see `score_case`.
        metadata: more strings for the file's schema, e.g. the configuration digest of the run that predicted.
        ignore: see `score_files`.
    """
    settings: dict[str, object] = {
        "conventions": {convention.name: convention.digest for convention in conventions},
        "labels": {str(value): name for value, name in labels.items()},
        "metrics": list(metrics) if metrics else None,
    }
    if ignore is not None:
        settings["ignore"] = ignore
    kept = {"scoring_digest": value_digest(settings), "code_version": code_version(), "run": run}
    kept.update(metadata or {})
    work = partial(score_files, labels=labels, conventions=conventions, metrics=metrics, ignore=ignore)
    results = track(map_processes(work, cases, processes=processes), total=len(cases), description="scoring")
    unlisted: Counter[int] = Counter()
    undecoded = 0
    with atomic_path(out) as temporary, ScoreWriter(temporary, metadata=kept) as writer:
        for result in _in_order(results):
            unlisted.update(result.unlisted)
            undecoded += result.undecoded
            writer.add([_row(run, result.files.case, score) for score in result.scores])
    if unlisted:
        listed = ", ".join(f"{value} ({count} cases)" for value, count in sorted(unlisted.items())[:FAULTS_SHOWN])
        say(f"label values that the labels file does not list counted as background: {listed}")
    if undecoded:
        say(
            f"{undecoded} predictions have values beside interior and boundary, which no instance is made of; "
            "score instance maps with --instance-maps"
        )


def _in_order(results: Iterable[CaseScores]) -> Iterator[CaseScores]:
    """Results by index; worker processes finish in any order, but only a few cases apart."""
    waiting: dict[int, CaseScores] = {}
    position = 0
    for result in results:
        waiting[result.files.place] = result
        while position in waiting:
            yield waiting.pop(position)
            position += 1


def _row(run: str, case: str, score: Score) -> tuple:
    case = f"{case}/{score.part}" if score.part else case
    return (run, case, score.class_name, score.metric, score.value, score.convention, score.status)
