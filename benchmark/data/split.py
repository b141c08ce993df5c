"""Which cases train, validate and test: the data set's own split, by patient, hashed, and checked for leaks."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark import lineage
from benchmark.data.source import load_source
from benchmark.datasets import Case, Dataset, get_dataset
from benchmark.errors import InputError
from benchmark.files import read_json, value_digest, write_json
from benchmark.lineage import Made
from benchmark.progress import say

SPLITS = ("train", "val", "test")


def make_split(dataset: Dataset, cases: Sequence[Case], *, kind: str) -> dict[str, Any]:
    """The content of split.json.

    Args:
        cases: all cases found, each with its own `split`.
        kind: of the source; a download has to be complete.

    Raises:
        InputError: a case without split, a complete set whose counts or test cases are not the official ones, an
            incomplete download, or a leak.
    """
    without = [case.id for case in cases if case.split not in SPLITS]
    if without:
        raise InputError(
            f"{len(without)} cases have no split", found=without[:5], expected="one of " + ", ".join(SPLITS)
        )
    split: dict[str, Any] = {"dataset": dataset.name}
    split |= {part: sorted(case.id for case in cases if case.split == part) for part in SPLITS}
    split["patients"] = {case.id: case.patient for case in sorted(cases, key=lambda case: case.id)}
    complete = bool(dataset.split_counts) and len(cases) == sum(dataset.split_counts.values())
    if kind == "phantom":
        split["source"] = "phantom"
    elif complete:
        check_official(dataset, split)
        split["source"] = dataset.split_source
    elif kind == "download" and dataset.split_counts:
        raise InputError(
            "the download is incomplete", expected=sum(dataset.split_counts.values()), found=f"{len(cases)} cases"
        )
    else:
        split["source"] = "local"
    split["digest"] = split_digest(split)
    check_split(split)
    return split


def split_digest(split: dict[str, Any]) -> str:
    """Hash of who is in which split."""
    return value_digest({name: split[name] for name in ("dataset", *SPLITS, "patients")})


def check_official(dataset: Dataset, split: dict[str, Any]) -> None:
    """A complete data set must have the published numbers of cases and, where known, the published cases of each part.

    Raises:
        InputError: it does not.
    """
    counts = {part: len(split[part]) for part in SPLITS}
    if counts != dict(dataset.split_counts):
        raise InputError("this is not the official split", expected=dict(dataset.split_counts), found=counts)
    for part, known in (("test", dataset.test_cases), ("val", dataset.val_cases)):
        odd = sorted(set(split[part]) ^ set(known))
        if known and odd:
            raise InputError(
                f"the {part} cases are not the official ones",
                expected=f"{len(known)} known ids",
                found=f"{len(odd)} differ: {odd[:6]}",
            )


def check_split(split: dict[str, Any], known: Sequence[str] | None = None) -> None:
    """The leak check.

    Args:
        split: content of split.json.
        known: ids of the cases that exist; None skips that part.

    Raises:
        InputError: a case twice, a patient in two splits, a case without patient, an empty training or test split, a
            case that does not exist, or a digest that does not fit the content.
    """
    places: dict[str, list[str]] = {}
    for part in SPLITS:
        for case in split[part]:
            places.setdefault(case, []).append(part)
    twice = {case: parts for case, parts in places.items() if len(parts) > 1}
    if twice:
        raise InputError("a case is in the split twice", found=twice, expected="once")
    without = sorted(set(places) - set(split["patients"]))
    if without:
        raise InputError("a case has no patient", found=without[:5], expected="an entry of `patients`")
    check_patients(split, split["patients"])
    for part in ("train", "test"):
        if not split[part]:
            raise InputError(f"the {part} split is empty", expected="at least one case", found=0)
    if known is not None and set(places) - set(known):
        raise InputError(
            "the split has unknown cases", found=sorted(set(places) - set(known))[:5], expected="raw cases"
        )
    if split["digest"] != split_digest(split):
        raise InputError(
            "the split was edited: its digest is wrong", expected=split_digest(split), found=split["digest"]
        )


def check_patients(split: dict[str, Any], patients: Mapping[str, str]) -> None:
    """Raise InputError where a patient (of `patients`, case → patient) has cases in two splits."""
    places: dict[str, set[str]] = {}
    for part in SPLITS:
        for case in split[part]:
            places.setdefault(patients[case], set()).add(part)
    leaks = {patient: sorted(parts) for patient, parts in places.items() if len(parts) > 1}
    if leaks:
        raise InputError(
            "a patient is in two splits",
            found=leaks,
            expected="each patient in one",
            remedy="correct the split column of the raw data (or the patients), then run split again",
        )


def read_split(path: Path) -> dict[str, Any]:
    """A checked split.json.

    Raises:
        InputError: it is missing, damaged, or does not pass `check_split`.
    """
    split = _read(path, ("dataset", *SPLITS, "patients", "digest"))
    try:
        check_split(split)
    except InputError as error:
        raise error.at(path) from error
    return split


def load_split(path: Path) -> dict[str, Any]:
    """A split.json that was checked already, for what only reads who is in which part.

    Raises:
        InputError: it is missing or damaged.
    """
    return _read(path, SPLITS)


def _read(path: Path, needed: Sequence[str]) -> dict[str, Any]:
    if not path.is_file():
        raise InputError("there is no split.json", where=path, remedy="run `retable split` first")
    try:
        split = read_json(path)
        missing = [key for key in needed if key not in split]
        if not missing:
            _check_types(split)
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise InputError(
            "split.json is damaged", where=path, found=error, remedy="run `retable split` again"
        ) from error
    if missing:
        raise InputError("split.json lacks keys", where=path, expected=missing, remedy="run `retable split` again")
    return split


def _check_types(split: dict[str, Any]) -> None:
    """Raise TypeError unless the splits are lists of ids, and patients a table of them."""
    patients = split.get("patients", {})
    if not (all(isinstance(split[part], list) for part in SPLITS) and isinstance(patients, dict)):
        raise TypeError("a split is a list of ids, patients a table")
    ids = [case for part in SPLITS for case in split[part]]
    if not all(isinstance(name, str) for name in (*ids, *patients, *patients.values())):
        raise TypeError("ids are texts")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", help="name of the data set")
    parser.add_argument("--source", type=Path, help="source.json written by fetch")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--out", type=Path, help="split.json to write")
    action.add_argument("--check", type=Path, help="split.json to check for leaks")
    parser.add_argument("--record", type=Path, help="with --check: where to write that it has none")


def _made(split: dict[str, Any]) -> Made:
    return {"split": split["digest"], **lineage.code("split")}


def main(arguments: argparse.Namespace) -> None:
    dataset = get_dataset(arguments.dataset)
    if arguments.out and not arguments.source:
        raise InputError("--out needs --source", expected="the source.json that fetch wrote")
    source = load_source(arguments.source, dataset.name) if arguments.source else None
    cases = dataset.find_cases(Path(source["root"])) if source else None
    if arguments.check:
        split = read_split(arguments.check)
        if split["dataset"] != dataset.name:
            raise InputError(
                "split of another data set", where=arguments.check, expected=dataset.name, found=split["dataset"]
            )
        check_split(split, None if cases is None else [case.id for case in cases])
        patients = split["patients"] if cases is None else {case.id: case.patient for case in cases}
        check_patients(split, {case: dataset.patient_by_name(patient) for case, patient in patients.items()})
        if arguments.record:
            write_json(arguments.record, {"dataset": dataset.name, "made": _made(split)})
    else:
        assert source is not None and cases is not None  # --out needs --source
        split = make_split(dataset, cases, kind=source["kind"])
        write_json(arguments.out, {**split, "made": _made(split)})
    say(f"{dataset.name}: " + ", ".join(f"{len(split[part])} {part}" for part in SPLITS) + f" ({split['source']})")
