"""Scores of paired label maps: worker processes, one streamed file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmark.errors import InputError
from benchmark.files import atomic_path, value_digest
from benchmark.progress import say, track
from benchmark.scoring.aggregate import ScoreWriter
from benchmark.scoring.cases import Score, score_case
from benchmark.scoring.conventions import INSTANCE_METRICS, Convention
from benchmark.scoring.images import LabelMap, check_geometry, read_labels, resize_slices, turn_axes
from benchmark.scoring.overlap import measure_overlap
from benchmark.scoring.pairs import FAULTS_SHOWN, CaseFiles
from benchmark.scoring.slices import score_slices
from benchmark.version import code_version
from benchmark.workers import map_processes


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
        raise error.at(files.reference) from error
    semantic = any(score.metric.split("@")[0] not in INSTANCE_METRICS for score in scores)
    unlisted = _unlisted(*labelled, labels) if semantic else ()
    undecoded = prediction is not None and _has_undecoded(prediction, scores, conventions)
    return CaseScores(files=files, scores=scores, unlisted=unlisted, undecoded=undecoded)


def _unlisted(truth: LabelMap, answer: LabelMap | None, labels: Mapping[int, str]) -> tuple[int, ...]:
    """Values of either map that are no label, in ascending order; none without a prediction."""
    if answer is None:
        return ()
    overlap = measure_overlap(truth.array, answer.array)
    found = np.flatnonzero(overlap.reference + overlap.prediction)
    return tuple(int(value) for value in found if value and value not in labels)


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
    digest = _settings_digest(labels, conventions, metrics, ignore)
    kept = {"scoring_digest": digest, "code_version": code_version(), "run": run, **(metadata or {})}
    work = partial(score_files, labels=labels, conventions=conventions, metrics=metrics, ignore=ignore)
    results = track(
        map_processes(work, cases, processes=processes), total=len(cases), description=f"scoring {run}".rstrip()
    )
    unlisted: Counter[int] = Counter()
    undecoded = 0
    with atomic_path(out) as temporary, ScoreWriter(temporary, metadata=kept) as writer:
        for result in _in_order(results):
            unlisted.update(result.unlisted)
            undecoded += result.undecoded
            writer.add([_row(run, result.files.case, score) for score in result.scores])
    _say_what_was_odd(unlisted, undecoded)
    _say_what_is_missing([files.case for files in cases if files.prediction is None], len(cases), run)


def _settings_digest(
    labels: Mapping[int, str], conventions: Sequence[Convention], metrics: Sequence[str] | None, ignore: int | None
) -> str:
    """Digest of all that decides the scores of two maps."""
    settings: dict[str, object] = {
        "conventions": {convention.name: convention.digest for convention in conventions},
        "labels": {str(value): name for value, name in labels.items()},
        "metrics": list(metrics) if metrics else None,
    }
    if ignore is not None:
        settings["ignore"] = ignore
    return value_digest(settings)


def _say_what_was_odd(unlisted: Counter[int], undecoded: int) -> None:
    if unlisted:
        listed = ", ".join(f"{value} ({count} cases)" for value, count in sorted(unlisted.items())[:FAULTS_SHOWN])
        say(f"label values that the labels file does not list counted as background: {listed}")
    if undecoded:
        say(
            f"{undecoded} predictions have values beside interior and boundary, which no instance is made of; "
            "score instance maps with --instance-maps"
        )


def _say_what_is_missing(missing: Sequence[str], count: int, run: str) -> None:
    if missing:
        listed = ", ".join(missing[:FAULTS_SHOWN]) + (", …" if len(missing) > FAULTS_SHOWN else "")
        say(f"{run or 'predictions'}: none of {len(missing)} of {count} cases, which are scored as missing: {listed}")


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
