"""TotalSegmentator's phantom: generated CT torsos with all 117 structures.

Places, sizes and Hounsfield units are plausible (totalseg.yaml); subjects differ in stature, in how they lie, in the
field of view, in a smooth deformation, in each organ's place and size, in Hounsfield units and noise, all drawn from
the seed. Some scans are whole bodies, some are cropped, in every split, because Swin SMT's Fig. 3a tells them apart.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np

from benchmark.data.phantoms.anatomy import deform, paint, read_anatomy
from benchmark.data.phantoms.base import Phantom, Subject, count_splits, seed_of
from benchmark.data.phantoms.volumes import acquire_ct, affine_of
from benchmark.datasets import get_dataset

FIELD_MM = np.array([440.0, 280.0])  # R-L, A-P
CENTRE_MM = np.array([0.0, 0.0, 400.0])
# No two scans show the same stretch of a body or as much air around it, so that places alone tell little.
WIDEST = 1.25  # times FIELD_MM
PLACEMENT_MM = np.array([24.0, 16.0])  # nobody lies exactly in the middle, and the less so the wider the field
FOOT_MM, HEAD_MM = (-30.0, 60.0), (790.0, 890.0)  # lowest and highest slice of whole bodies
PARTIAL_LENGTH_MM = (165.0, 190.0)  # less than a whole thorax or abdomen
PERIODS = {"train": 3, "val": 2, "test": 2}  # every third, second, second scan is cropped
META_COLUMNS = (
    "image_id", "age", "gender", "institute", "study_type", "split", "manufacturer", "scanner_model", "kvp",
    "pathology", "pathology_location",
)  # fmt: skip
CROPPED = "cropped"


class TotalSegmentatorPhantom(Phantom):
    """`sXXXX/ct.nii.gz`, `sXXXX/segmentations/<structure>.nii.gz` and meta.csv; RAS, isotropic."""

    version = 5

    def plan(self, subjects: int, seed: int = 0) -> list[Subject]:
        """Of every split at least one, and in every split some scans cropped."""
        plan: list[Subject] = []
        for (split, period), count in zip(PERIODS.items(), count_splits(subjects, with_validation=True), strict=True):
            for index in range(count):
                kind = CROPPED if index % period == period - 1 else ""
                plan.append(Subject(f"s{len(plan):04d}", split, seed_of(seed, len(plan)), kind))
        return plan

    def write_subject(self, root: Path, spacing: float | None, subject: Subject) -> None:
        """One case folder; a structure that the scan does not show has an empty mask."""
        image, labels, affine = generate(subject, spacing=self.voxel_side(spacing))
        folder = root / subject.id / "segmentations"
        folder.mkdir(parents=True)
        nibabel.Nifti1Image(image, affine).to_filename(folder.parent / "ct.nii.gz")
        for name, number in get_dataset("totalseg").class_numbers.items():
            mask = (labels == number).astype(np.uint8)
            nibabel.Nifti1Image(mask, affine).to_filename(folder / f"{name}.nii.gz")

    def write_tables(self, root: Path, plan: Sequence[Subject]) -> None:
        with (root / "meta.csv").open("w", encoding="utf-8-sig", newline="") as stream:
            writer = csv.DictWriter(stream, META_COLUMNS, delimiter=";", restval="")
            writer.writeheader()
            for subject in plan:
                study = "phantom, cropped" if subject.kind == CROPPED else "phantom, whole body"
                writer.writerow({"image_id": subject.id, "split": subject.split, "study_type": study})


def generate(subject: Subject, *, spacing: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One scan: (CT int16 in HU [X, Y, Z], labels uint8 [X, Y, Z], affine [4, 4]), RAS, isotropic `spacing` in mm.

    The same subject and spacing give the same arrays.
    """
    generator = subject.generator()
    low, high = _field_of_view(subject, generator)
    shape = np.maximum(np.round((high - low) / spacing).astype(int), 1)
    positions = deform(low, shape, spacing, CENTRE_MM, generator)
    dataset = get_dataset("totalseg")
    organs = frozenset(dataset.groups["organs"])
    labels, hounsfield = paint(read_anatomy("totalseg"), positions, dataset.class_numbers, organs, generator)
    return acquire_ct(hounsfield, generator), labels.astype(np.uint8), affine_of(low, np.full(3, spacing))


def _field_of_view(subject: Subject, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the scan in mm: the whole torso, or a slab of it between the hips and the neck."""
    size = FIELD_MM * generator.uniform(1.0, WIDEST)
    middle = CENTRE_MM[:2] + generator.uniform(-1, 1, 2) * (PLACEMENT_MM + (size - FIELD_MM) / 4)
    if subject.kind == CROPPED:
        length = generator.uniform(*PARTIAL_LENGTH_MM)
        foot = generator.uniform(120.0, 590.0 - length)
        head = foot + length
    else:
        foot, head = generator.uniform(*FOOT_MM), generator.uniform(*HEAD_MM)
    return np.array([*(middle - size / 2), foot]), np.array([*(middle + size / 2), head])


phantom = TotalSegmentatorPhantom(
    name="totalseg",
    subjects=14,
    spacing=8.0,  # so that a 32³ patch sees a quarter of the torso, and a network learns in a minute
)
