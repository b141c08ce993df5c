"""ACDC (Bernard et al., IEEE TMI 2018): cine MR of the heart, end-diastolic and end-systolic frames of 150 patients.

Layout: `database/{training,testing}/patient001/` with `Info.cfg` (which names the two frames), per frame
`patient001_frame01.nii.gz` and `patient001_frame01_gt.nii.gz`, and `patient001_4d.nii.gz`, the film, which is left out.
Each frame is a case; both are of one patient.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from benchmark.datasets.base import Case, Fault
from benchmark.datasets.volumes import Files, LabelledVolumes, files_by_case, first_folder
from benchmark.errors import InputError

PARTS = {"training": "train", "testing": "test"}
PLACES = ("", "database", "ACDC/database")
PATIENT = "patient[0-9][0-9][0-9]"
PHASES = ("ED", "ES")


@dataclass(frozen=True)
class Acdc(LabelledVolumes):
    """The challenge's folders.

    Attributes:
        patients: first and last number of the patients in `training` and `testing`.
        training_alone: who validates and who tests where `testing` is absent: a public split of the 100 in `training`.
    """

    image_name: ClassVar = re.compile(r"(?P<case>patient\d{3}_frame\d{2})\.nii(\.gz)?")
    label_name: ClassVar = re.compile(r"(?P<case>patient\d{3}_frame\d{2})_gt\.nii(\.gz)?")
    other_names: ClassVar = re.compile(r"patient\d{3}_4d\.nii(\.gz)?")  # the film

    patients: Mapping[str, Sequence[int]] = field(default_factory=dict)
    training_alone: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def find_files(self, root: Path) -> tuple[Files, Files]:
        files = [path for folder in self.patient_folders(root) for path in folder.iterdir()]
        images, labels = (files_by_case(files, name, self.case_name) for name in (self.image_name, self.label_name))
        return images, labels

    def patient_folders(self, root: Path) -> list[Path]:
        """Folders of the patients of both parts.

        Raises:
            InputError: there is no `training` with a patient.
        """
        database = first_folder(root, PLACES, f"training/{PATIENT}")
        if database is None:
            raise InputError(
                f"this is not {self.title}: no training patients",
                where=root,
                expected=self.layout,
                remedy="give the folder `database` that holds `training` and `testing`",
            )
        return [folder for part in PARTS for folder in sorted((database / part).glob(PATIENT)) if folder.is_dir()]

    def patient_of(self, case: str) -> str:
        return case.partition("_")[0]

    def part_of(self, case: str, image: Path) -> str:
        """That of the folder; without `testing`, the split by patients of `training_alone`."""
        part = image.parent.parent
        if part.name == "testing" or part.with_name("testing").is_dir():
            return PARTS[part.name]
        return next((name for name, patients in self.training_alone.items() if image.parent.name in patients), "train")

    def attributes_of(self, case: str, image: Path) -> dict[str, Any]:
        """`phase`: ED or ES, and `pathology` (the challenge's group), as far as Info.cfg says."""
        info = read_info(image.parent)
        phase = next((phase for phase in PHASES if info.get(phase) == str(int(case[-2:]))), None)
        known = {"phase": phase, "pathology": info.get("Group")}
        return {name: value for name, value in known.items() if value}

    def find_layout_faults(self, root: Path, cases: Sequence[Case]) -> Iterator[Fault]:
        """As of all volumes; also frames that Info.cfg names and the folder lacks, and patients of the other part."""
        yield from super().find_layout_faults(root, cases)
        for folder in self.patient_folders(root):
            yield from self._patient_faults(folder, [case.id for case in cases if case.images[0].parent == folder])

    def _patient_faults(self, folder: Path, found: Sequence[str]) -> Iterator[Fault]:
        patient, path = folder.name, folder / "Info.cfg"
        first, last = self.patients[folder.parent.name]
        if not first <= int(patient[-3:]) <= last:
            expected = f"patient{first:03d} to patient{last:03d}"
            yield Fault(patient, str(folder), f"not a patient of {folder.parent.name}", expected, patient)
        info = read_info(folder)
        wanted = {f"{patient}_frame{int(info[phase]):02d}" for phase in PHASES if info.get(phase, "").isdecimal()}
        if len(wanted) < len(PHASES):
            found_there = ", ".join(f"{key}: {info[key]}" for key in PHASES if key in info) or "neither"
            yield Fault(patient, str(path), "frames not named", "ED: and ES: with a frame each", found_there)
            return
        for case in sorted(wanted - set(found)):
            yield Fault(case, str(path), "frame of Info.cfg is not there", f"{case}.nii.gz", ", ".join(found) or "none")
        for case in sorted(set(found) - wanted):
            yield Fault(case, str(path), "frame is not in Info.cfg", ", ".join(sorted(wanted)), case)


def read_info(folder: Path) -> dict[str, str]:
    """Lines `key: value` of a patient's Info.cfg; empty where there is none (`verify` reports it)."""
    path = folder / "Info.cfg"
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return {key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in lines) if colon}


dataset = Acdc.from_yaml(__file__)
