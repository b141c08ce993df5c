"""Who is tested and who is who, as somebody filed it: splits_final.json, a csv, a pattern of names."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmark.datasets.base import Case
from benchmark.errors import InputError
from benchmark.images.files import stem_of
from benchmark.images.label_names import read_structured, read_text

NNUNETS_PARTS = {"train": "train", "val": "test"}  # what nnU-Net validates on is what a fold tests
PARTS = {"train": "train", "training": "train", "val": "val", "validation": "val", "test": "test", "testing": "test"}
COLUMNS = "columns case or patient (or both), and split (train, val, test) or fold (0, 1, …)"
DELIMITERS = ",;\t"
TABLES = (".csv", ".tsv")
SHOWN = 5
PLACE = "{patient}"
PATTERNS = r"a form such as {patient}_*, or a regular expression with a group such as (p\d+)_.*"

By = Literal["case", "patient"]


@dataclass(frozen=True)
class FiledSplits:
    """What a file of splits says.

    Attributes:
        path: the file.
        by: whose names it gives.
        folds: of each fold, name → "train", "val" or "test"; of a file without folds one.
        crossed: whether these are the folds of a cross-validation, and not one split of all cases.
        patients: case → patient, where the file says both.
    """

    path: Path
    by: By
    folds: tuple[Mapping[str, str], ...]
    crossed: bool
    patients: Mapping[str, str] = field(default_factory=dict)


def read_splits(path: Path) -> FiledSplits:
    """Read nnU-Net's splits_final.json, or a csv with the columns case or patient (or both), and split or fold.

    Comma, semicolon or tab; a case may have the name of its label file. A fold of a csv tests who has its number, and
    learns from all others.

    Raises:
        InputError: the file is missing or of neither form, or somebody is in two parts of one split.
    """
    if not path.is_file():
        raise InputError(
            "there is no such file of splits", where=path, expected=f"splits_final.json, or a csv: {COLUMNS}"
        )
    return _read_table(path) if path.suffix.lower() in TABLES else _read_nnunets(path)


def _read_nnunets(path: Path) -> FiledSplits:
    try:
        content = read_structured(path)
        pairs = [[(str(case), part) for key, part in NNUNETS_PARTS.items() for case in fold[key]] for fold in content]
    except (KeyError, TypeError, InputError) as error:
        raise InputError(
            "the folds cannot be read",
            where=path,
            expected='[{"train": […], "val": […]}, …], as nnU-Net writes it, or a file called .csv',
            found=error.found if isinstance(error, InputError) else repr(error),
        ) from error
    return FiledSplits(path, "case", tuple(_each_once(fold, "case", "splits", path) for fold in pairs), crossed=True)


def _read_table(path: Path) -> FiledSplits:
    lines = _lines(path)
    columns = list(lines[0])
    by: By = "case" if "case" in columns else "patient"
    parted = [column for column in ("split", "fold") if column in columns]
    if by not in columns or len(parted) != 1:
        raise InputError("this is no table of splits", where=path, expected=COLUMNS, found=", ".join(columns))
    named = [(stem_of(Path(line[by])) if by == "case" else line[by], line) for line in lines]
    said = _each_once(((name, line[parted[0]]) for name, line in named), by, f"{parted[0]}s", path)
    both = by == "case" and "patient" in columns
    patients = _each_once(((name, line["patient"]) for name, line in named), by, "patients", path) if both else {}
    folds = _folds(said, path) if parted == ["fold"] else (_parts(said, path),)
    return FiledSplits(path, by, folds, parted == ["fold"], patients)


def _lines(path: Path) -> list[dict[str, str]]:
    """Lines of a table, each with the same columns and no empty field."""
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise InputError("the table of splits cannot be read", where=path, found=str(error)) from error
    delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
    rows = [[value.strip() for value in row] for row in csv.reader(io.StringIO(text), delimiter=delimiter)]
    columns = [name.lower() for name in rows[0]] if rows else []
    lines = [dict(zip(columns, row, strict=False)) for row in rows[1:] if any(row)]
    used = [name for name in columns if name in ("case", "patient", "split", "fold")]
    for number, line in enumerate(lines, start=1):
        if not all(line.get(name) for name in used):
            raise InputError(
                "a line of splits is not whole", where=path, expected=used, found=f"entry {number}: {line}"
            )
    if not lines:
        raise InputError("the table of splits has no line", where=path, expected=COLUMNS)
    return lines


def _each_once(pairs: Iterable[tuple[str, str]], by: str, what: str, path: Path) -> dict[str, str]:
    """Name → what is said of it; raises InputError where two things are."""
    found: dict[str, set[str]] = {}
    for name, value in pairs:
        found.setdefault(name, set()).add(value)
    twice = [f"{name} ({', '.join(sorted(values))})" for name, values in found.items() if len(values) > 1]
    if twice:
        raise InputError(f"a {by} is in two {what}", where=path, expected="each in one", found=_some(twice))
    return {name: value for name, (value,) in found.items()}


def _parts(said: Mapping[str, str], path: Path) -> dict[str, str]:
    odd = sorted({value for value in said.values() if value.lower() not in PARTS})
    if odd:
        raise InputError("unknown split", where=path, expected=", ".join(PARTS), found=_some(odd))
    return {name: PARTS[value.lower()] for name, value in said.items()}


def _folds(said: Mapping[str, str], path: Path) -> tuple[dict[str, str], ...]:
    numbers = sorted(set(said.values()), key=lambda value: (len(value), value))
    if len(numbers) < 2 or numbers != [str(fold) for fold in range(len(numbers))]:
        raise InputError("folds are numbered 0, 1, …, and two at least", where=path, found=_some(numbers))
    return tuple({name: "test" if value == number else "train" for name, value in said.items()} for number in numbers)


def check_names(filed: FiledSplits, fold: Collection[str], learnt: Set[str], told: Set[str]) -> None:
    """That a fold of a file names everybody there is, and nobody else.

    Args:
        fold: the names that it gives.
        learnt: names in imagesTr, which it has to give.
        told: names that it may give.

    Raises:
        InputError: it does not.
    """
    unknown, missing = sorted(set(fold) - told), sorted(learnt - set(fold))
    if unknown or missing:
        raise InputError(
            f"the splits file and the {filed.by}s differ",
            where=filed.path,
            expected=f"{len(learnt)} {filed.by}s of imagesTr, such as {_some(sorted(learnt)[:2])}",
            found=f"only in the file: {_some(unknown)}; not in the file: {_some(missing)}",
        )


def check_patients(filed: FiledSplits, cases: Iterable[Case]) -> None:
    """Raise InputError where a patient has cases in two parts."""
    places: dict[str, set[str]] = {}
    for case in cases:
        places.setdefault(case.patient, set()).add(str(case.split))
    leaks = [f"{patient} ({', '.join(sorted(parts))})" for patient, parts in places.items() if len(parts) > 1]
    if leaks:
        raise InputError(
            "a patient is in two splits",
            where=filed.path,
            expected="all cases of a patient in one",
            found=_some(leaks),
            remedy="correct the file, or say who is who: a column patient beside case, or patient_pattern (--patient)",
        )


def patients_by(pattern: str, cases: Iterable[str]) -> dict[str, str]:
    """Case → patient, as a pattern that fits whole names of cases tells.

    Args:
        pattern: `{patient}_*`, where `*` is anything and the patient as short as fits; or a regular expression whose
            group `patient`, else the first one, is the patient.

    Raises:
        InputError: the pattern cannot be read, has no group, or does not fit a case.
    """
    expression = _expression(pattern)
    group = "patient" if "patient" in expression.groupindex else 1
    matches = {case: expression.fullmatch(case) for case in cases}
    found = {case: match[group] for case, match in matches.items() if match and match[group]}
    odd = sorted(set(matches) - set(found))
    if odd:
        what = "matches no case" if not found else f"does not match {len(odd)} of {len(matches)} cases"
        raise InputError(
            f"the pattern of patients {what}", where=pattern, expected="one that fits whole names", found=_some(odd)
        )
    return found


def _expression(pattern: str) -> re.Pattern[str]:
    parts = pattern.split(PLACE)
    text = "(?P<patient>.+?)".join(map(_anything, parts)) if len(parts) > 1 else pattern
    try:
        expression = re.compile(text)
    except re.error as error:
        raise InputError(
            "a pattern of patients cannot be read", where=pattern, expected=PATTERNS, found=error
        ) from error
    if not expression.groups:
        raise InputError("a pattern of patients names none", where=pattern, expected=PATTERNS)
    return expression


def _anything(text: str) -> str:
    return ".*".join(map(re.escape, text.split("*")))


def _some(values: Sequence[str]) -> str:
    """The first few, as people read them."""
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(values[:SHOWN]) + more or "none"
