"""Which reference belongs to which prediction, and whether they lie on one grid, before any work starts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from benchmark.errors import InputError
from benchmark.images.files import IMAGES, UNREAD, ending_of, is_hidden
from benchmark.progress import say
from benchmark.scoring.images import case_of, check_geometry, find_cases, read_geometry

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


def pair_cases(reference: Path, prediction: Path) -> list[CaseFiles]:
    """All cases of the reference folder with their predictions; says which predictions belong to no reference.

    Two files are one case, called as the reference is, whatever the prediction is called.

    Raises:
        InputError: if a folder or file is absent, or one of them is a file and the other a folder; if the reference
            folder holds no label map; if no prediction has the name of a reference; with the list of all predictions
            that lie on another grid than their reference.
    """
    if reference.is_file() or prediction.is_file():
        return [_pair_of_files(reference, prediction)]
    references, predictions = find_cases(reference), find_cases(prediction)
    if not references:
        raise InputError(
            "There are no label maps",
            where=reference,
            expected=f"files {', '.join(IMAGES)}",
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


def _pair_of_files(reference: Path, prediction: Path) -> CaseFiles:
    for path, other in ((reference, prediction), (prediction, reference)):
        if path.is_dir():
            raise InputError(
                "a folder and a file cannot be paired",
                where=path,
                expected=f"a file, as {other} is one",
                remedy="give two files, or two folders in which a case has one name",
            )
        if not path.exists():
            raise InputError("There is no such file", where=path, remedy="check the path")
        if not ending_of(path):
            raise InputError("this is no label map by its ending", where=path, expected=", ".join(IMAGES))
    files = CaseFiles(0, case_of(reference), reference, prediction)
    if fault := _geometry_fault(files):
        raise fault
    return files


def _nothing_pairs(folder: Path, references: Mapping[str, Path], predictions: Mapping[str, Path]) -> InputError:
    return InputError(
        "No prediction has the name of a reference",
        where=folder,
        expected=f"{len(references)} label maps: {', '.join(path.name for path in list(references.values())[:3])}, …",
        found=(_contents(folder) or "nothing") + _near_names(references, predictions),
        remedy=f"put the predictions into one folder under the names of the references: files {', '.join(IMAGES)}",
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
