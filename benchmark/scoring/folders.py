"""Scores of two folders of label maps: pairing, checks before the work starts, worker processes, one streamed file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from benchmark.errors import InputError
from benchmark.files import atomic_path, value_digest
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
    """One case: its place in the order of output, id, reference file, prediction file (None where it is missing), and
    what conventions of the network's grid need."""

    index: int
    case: str
    reference: Path
    prediction: Path | None
    network: NetworkGrid | None = None


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


def read_label_names(path: Path) -> dict[int, str]:
    """Label value → class name from a file.

    Accepts `{"1": "liver", …}` (JSON or YAML) and nnU-Net's dataset.json in both versions. Background (value 0) is left
    out.

    Raises:
        InputError: if the file is absent, is none of these, names no class, or one name twice.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError("The labels file cannot be read", where=path, found=str(error)) from error
    if isinstance(content, dict) and isinstance(content.get("labels"), dict):
        content = content["labels"]
    try:
        names = dict(_label_and_name(key, value) for key, value in content.items())
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            "The labels file has another form than expected",
            where=path,
            expected='{"1": "liver", …} or the labels of a dataset.json of nnU-Net, without regions',
            found=str(content)[:120],
        ) from error
    names.pop(0, None)
    twice = sorted(name for name, count in Counter(names.values()).items() if count > 1)
    if twice or not names:
        raise InputError(
            "The labels file names no class" if not names else "The labels file gives one name to several values",
            where=path,
            expected="one name for each value above 0",
            found=", ".join(twice) or str(content)[:120],
        )
    return dict(sorted(names.items()))


def _label_and_name(key: Any, value: Any) -> tuple[int, str]:
    if str(key).isdecimal():
        return int(key), str(value)
    if isinstance(value, bool) or not str(value).isdecimal():
        raise ValueError(f"{key}: {value}")
    return int(value), str(key)


def pair_cases(reference: Path, prediction: Path) -> list[CaseFiles]:
    """All cases of the reference folder with their predictions; says which predictions belong to no reference.

    Raises:
        InputError: if a folder is absent or the reference folder holds no label map; with the list of all
            predictions that lie on another grid than their reference.
    """
    references, predictions = find_cases(reference), find_cases(prediction)
    if not references:
        raise InputError("There are no label maps", where=reference, expected="NIfTI, PNG or TIFF files")
    surplus = sorted(set(predictions) - set(references))
    if surplus:
        say(f"{len(surplus)} predictions without a reference are not scored: {', '.join(surplus[:FAULTS_SHOWN])}")
    cases = [CaseFiles(i, case, path, predictions.get(case)) for i, (case, path) in enumerate(references.items())]
    faults = [str(fault) for fault in map(_geometry_fault, cases) if fault]
    if faults:
        more = [f"and {len(faults) - FAULTS_SHOWN} more"] if len(faults) > FAULTS_SHOWN else []
        raise InputError(
            f"{len(faults)} of {len(cases)} cases cannot be scored",
            found="\n" + "\n".join(faults[:FAULTS_SHOWN] + more),
        )
    return cases


def _geometry_fault(files: CaseFiles) -> InputError | None:
    if files.prediction is None:
        return None
    try:
        check_geometry(read_geometry(files.reference), read_geometry(files.prediction), where=files.prediction)
    except InputError as fault:
        return fault
    return None


def score_files(
    files: CaseFiles, *, labels: Mapping[int, str], conventions: Sequence[Convention], metrics: Sequence[str] | None
) -> CaseScores:
    """Read and score one case; see `score_case`. An InputError names the case's file."""
    reference = read_labels(files.reference)
    prediction = read_labels(files.prediction) if files.prediction else None
    scores: list[Score] = []
    try:
        for grid in dict.fromkeys(convention.grid for convention in conventions):
            chosen = [convention for convention in conventions if convention.grid == grid]
            maps = (reference, prediction) if grid == "raw" else _on_network_grid(files, reference, prediction)
            scores += score_case(*maps, labels=labels, conventions=chosen, metrics=metrics)
    except InputError as error:
        error_at = {"expected": error.expected, "found": error.found, "remedy": error.remedy}
        raise InputError(error.problem, where=error.where or files.reference, **error_at) from error
    unlisted: tuple[int, ...] = ()
    if prediction is not None and any(score.metric.split("@")[0] not in INSTANCE_METRICS for score in scores):
        overlap = measure_overlap(reference.array, prediction.array)
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
    """
    settings = {
        "conventions": {convention.name: convention.digest for convention in conventions},
        "labels": {str(value): name for value, name in labels.items()},
        "metrics": list(metrics) if metrics else None,
    }
    kept = {"scoring_digest": value_digest(settings), "code_version": code_version(), "run": run}
    kept.update(metadata or {})
    work = partial(score_files, labels=labels, conventions=conventions, metrics=metrics)
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
        waiting[result.files.index] = result
        while position in waiting:
            yield waiting.pop(position)
            position += 1


def _row(run: str, case: str, score: Score) -> tuple:
    return (run, case, score.class_name, score.metric, score.value, score.convention, score.status)
