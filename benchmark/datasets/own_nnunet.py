"""A data set of one's own in nnU-Net's raw layout: facts and split in one yaml, no code."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

from benchmark.datasets.base import Case
from benchmark.datasets.filed_splits import FiledSplits, check_names, check_patients, patients_by, read_splits
from benchmark.datasets.nnunet_raw import NnUnetRaw
from benchmark.errors import InputError
from benchmark.settings.folds import fold_name, fold_of


@dataclass(frozen=True)
class OwnNnUnet(NnUnetRaw):
    """Cases of imagesTr are divided by patient; labelled cases of imagesTs, where there are any, are the test cases.

    Cases of imagesTs without labels, as challenges publish them, are left out. In a fold (`of_fold`) all of imagesTs
    are: the folds of a data set test every patient of imagesTr once.

    Attributes:
        splits_file: nnU-Net's splits_final.json or a csv (`read_splits`), absolute or from `folder`; the part `val` of
            `fold` is tested on, or who has the number `fold`, or the csv's own split holds.
        patient_pattern: who is who, by the names of cases (`patients_by`); empty: as `frame_suffix` tells.
        fold: of that file; without a file, of `folds` equal parts of the patients, the one that is tested on.
        folds: number of those parts, or of the folds of the file.
        seed: of their order, which is a pure function of seed and patient: a new patient moves no other.
        validation: share of the remaining patients that is watched in training instead of learnt from.
    """

    chosen_split: ClassVar[bool] = True

    splits_file: str = ""
    patient_pattern: str = ""
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

    def patient_by_name(self, name: str) -> str:
        """Where a pattern says who is who, names tell nothing more."""
        return name if self.patient_pattern else super().patient_by_name(name)

    def find_cases(self, root: Path) -> list[Case]:
        """Raises InputError as NnUnetRaw does, and where the file of splits or the pattern does not fit the cases."""
        crossed = fold_of(self.name) is not None
        cases = [case for case in super().find_cases(root) if case.split == "train" or (case.labels and not crossed)]
        filed = read_splits(root / self.splits_file) if self.splits_file else None
        patients = patients_by(self.patient_pattern, [case.id for case in cases]) if self.patient_pattern else {}
        patients |= filed.patients if filed else {}
        cases = [replace(case, patient=patients.get(case.id, case.patient)) for case in cases]
        if filed:
            return self._filed(filed, cases)
        test = {case.patient for case in cases if case.split == "test"}
        learnt = {case.patient for case in cases if case.split == "train"}
        parts = self._drawn(sorted(learnt - test), tested=not test)
        return [
            replace(case, split=parts.get(case.patient, "train")) if case.split == "train" else case for case in cases
        ]

    def _drawn(self, patients: Sequence[str], *, tested: bool) -> dict[str, str]:
        """Patient → part: every `folds`-th of a seeded order tests, a share of the others validates."""
        order = sorted(patients, key=lambda patient: hashlib.sha256(f"{self.seed}/{patient}".encode()).hexdigest())
        test = set(order[self.fold % self.folds :: self.folds]) if tested else set()
        others = [patient for patient in order if patient not in test]
        watched = set(others[: round(self.validation * len(others))])
        return {patient: "test" if patient in test else "val" if patient in watched else "train" for patient in order}

    def _filed(self, filed: FiledSplits, cases: Sequence[Case]) -> list[Case]:
        """The cases with the parts of a file. Folds are of imagesTr alone; a split may name labelled cases of imagesTs,
        which test where it does not."""
        fold = self._fold_of(filed)
        name = {case.id: case.id if filed.by == "case" else case.patient for case in cases}
        learnt = [case for case in cases if case.split == "train"]
        told = learnt if filed.crossed else cases
        check_names(filed, fold, {name[case.id] for case in learnt}, {name[case.id] for case in told})
        parts = {case.id: fold[name[case.id]] for case in told if name[case.id] in fold}
        cases = [replace(case, split=parts.get(case.id, case.split)) for case in cases]
        check_patients(filed, cases)
        return cases

    def _fold_of(self, filed: FiledSplits) -> Mapping[str, str]:
        """Name → part in this fold of a file, or in its only split."""
        in_fold, remedy = fold_of(self.name) is not None, "write what the file has as `folds` and `fold` into the yaml"
        if not filed.crossed and in_fold:
            raise InputError(
                "the splits file has one split, and no folds",
                where=filed.path,
                expected="a column fold",
                remedy="leave out cross_validate of the protocol",
            )
        if in_fold and len(filed.folds) != self.folds:
            raise InputError(
                "the splits file has another number of folds",
                where=filed.path,
                expected=self.folds,
                found=len(filed.folds),
                remedy=remedy,
            )
        if not filed.crossed:
            return filed.folds[0]
        if self.fold >= len(filed.folds):
            raise InputError(
                f"the splits file has no fold {self.fold}", where=filed.path, found=len(filed.folds), remedy=remedy
            )
        return filed.folds[self.fold]
