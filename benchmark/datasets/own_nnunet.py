"""A data set of one's own in nnU-Net's raw layout: facts and split in one yaml, no code."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

from benchmark.datasets.base import Case
from benchmark.datasets.nnunet_raw import NnUnetRaw
from benchmark.errors import InputError
from benchmark.images.label_names import read_structured
from benchmark.settings.folds import fold_name, fold_of


@dataclass(frozen=True)
class OwnNnUnet(NnUnetRaw):
    """Cases of imagesTr are divided by patient; labelled cases of imagesTs, where there are any, are the test cases.

    Cases of imagesTs without labels, as challenges publish them, are left out. In a fold (`of_fold`) all of imagesTs
    are: the folds of a data set test every patient of imagesTr once.

    Attributes:
        splits_file: nnU-Net's splits_final.json, absolute or from `folder`; its part `val` of `fold` is tested on.
        fold: of that file; without a file, of `folds` equal parts of the patients, the one that is tested on.
        folds: number of those parts, or of the folds of the file.
        seed: of their order, which is a pure function of seed and patient: a new patient moves no other.
        validation: share of the remaining patients that is watched in training instead of learnt from.
    """

    chosen_split: ClassVar[bool] = True

    splits_file: str = ""
    fold: int = 0
    folds: int = 5
    seed: int = 0
    validation: float = 0.0

    @property
    def fold_count(self) -> int:
        return self.folds

    def of_fold(self, fold: int) -> Self:
        if fold >= self.folds:
            raise InputError(f"{self.name} has no fold {fold}", expected=f"0 to {self.folds - 1}", found=fold)
        return replace(self, name=fold_name(self.name, fold), fold=fold)

    def find_cases(self, root: Path) -> list[Case]:
        """Raises InputError as NnUnetRaw does, and where the splits file does not fit the cases."""
        crossed = fold_of(self.name) is not None
        cases = [case for case in super().find_cases(root) if case.split == "train" or (case.labels and not crossed)]
        test = {case.patient for case in cases if case.split == "test"}
        learnt = [case for case in cases if case.split == "train"]
        parts = self._from_file(root, learnt) if self.splits_file else {}
        if not parts:
            parts = self._drawn(sorted({case.patient for case in learnt} - test), tested=not test)
            parts = {case.id: parts.get(case.patient, "train") for case in learnt}
        return [replace(case, split=parts.get(case.id, case.split)) for case in cases]

    def _drawn(self, patients: Sequence[str], *, tested: bool) -> dict[str, str]:
        """Patient → part: every `folds`-th of a seeded order tests, a share of the others validates."""
        order = sorted(patients, key=lambda patient: hashlib.sha256(f"{self.seed}/{patient}".encode()).hexdigest())
        test = set(order[self.fold % self.folds :: self.folds]) if tested else set()
        others = [patient for patient in order if patient not in test]
        watched = set(others[: round(self.validation * len(others))])
        return {patient: "test" if patient in test else "val" if patient in watched else "train" for patient in order}

    def _from_file(self, root: Path, cases: Sequence[Case]) -> Mapping[str, str]:
        path = root / self.splits_file
        try:
            content = read_structured(path)
            fold = content[self.fold]
            named = {str(case): part for key, part in (("train", "train"), ("val", "test")) for case in fold[key]}
        except (KeyError, IndexError, TypeError) as error:
            raise InputError(
                f"fold {self.fold} cannot be read",
                where=path,
                expected='[{"train": […], "val": […]}, …], as nnU-Net writes it',
                found=repr(error),
            ) from error
        if fold_of(self.name) is not None and len(content) != self.folds:
            raise InputError(
                "the splits file has another number of folds",
                where=path,
                expected=self.folds,
                found=len(content),
                remedy="write the number of this file as `folds` into the yaml of the data set",
            )
        known = {case.id for case in cases}
        if known != set(named):
            raise InputError(
                "the splits file and the cases differ",
                where=path,
                expected=f"{len(known)} cases of imagesTr",
                found=f"only here: {sorted(set(named) - known)[:3]}, not here: {sorted(known - set(named))[:3]}",
            )
        return named
