"""A phantom, not patients: generated CT torsos with all 117 TotalSegmentator structures, in that data set's layout.

It lets the whole workflow run in minutes and be tested without data. Places, sizes and Hounsfield units are plausible
(phantom.yaml); subjects differ in stature, in how they lie, in a smooth deformation, in each organ's place and size, in
Hounsfield units and noise, all drawn from the seed. Some scans are whole bodies, some are cropped, in every split,
because Swin SMT's Fig. 3a tells them apart. Numbers computed on it say nothing about patients.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import yaml
from scipy.ndimage import gaussian_filter

from benchmark.data.phantom_shapes import Solid, solids_of
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from benchmark.files import read_json, write_json
from benchmark.progress import track
from benchmark.workers import map_processes

DEFAULT_SUBJECTS = 14
DEFAULT_SPACING_MM = 8.0  # so that a 32³ patch sees a quarter of the torso, and a network learns in a minute
FIELD_MM = np.array([440.0, 280.0, 800.0])  # R-L, A-P, S-I
LOWEST_MM = np.array([-220.0, -140.0, 0.0])
PLACEMENT_MM = np.array([24.0, 16.0, 0.0])  # nobody lies exactly in the middle, so that places alone tell little
PARTIAL_LENGTH_MM = (165.0, 190.0)  # less than a whole thorax or abdomen
NOISE_HU, BLUR_VOXELS, HU_SPREAD = 12.0, 0.4, 3.0
STATURE_SPREAD, WAVE_MM, ORGAN_SHIFT_MM, ORGAN_SIZE_SPREAD = 0.03, 5.0, 2.5, 0.05
VERSION = 4  # raise when the same settings would give other scans
META_COLUMNS = ("image_id", "age", "gender", "institute", "study_type", "split", "manufacturer", "scanner_model")
META_COLUMNS += ("kvp", "pathology", "pathology_location")


@dataclass(frozen=True)
class Structure:
    """One structure of the nominal torso."""

    name: str
    hounsfield: float
    solids: tuple[Solid, ...]


@dataclass(frozen=True)
class Subject:
    """One scan to generate."""

    id: str
    split: str
    partial: bool
    seed: int


@cache
def torso() -> tuple[tuple[Structure, ...], dict[str, Any]]:
    """The nominal torso: structures in the order they are painted, and the rest of phantom.yaml."""
    facts = yaml.safe_load(Path(__file__).with_name("phantom.yaml").read_text(encoding="utf-8"))
    structures = []
    for entry in facts.pop("structures"):
        solids = tuple(solid for part in entry["parts"] for solid in solids_of(part))
        right, left = entry["hu"] if isinstance(entry["hu"], list) else (entry["hu"], entry["hu"])
        if "<side>" not in entry["name"]:
            structures.append(Structure(entry["name"], right, solids))
            continue
        structures.append(Structure(entry["name"].replace("<side>", "right"), right, solids))
        mirrored = tuple(solid.mirrored() for solid in solids)
        structures.append(Structure(entry["name"].replace("<side>", "left"), left, mirrored))
    return tuple(structures), facts


def plan_subjects(subjects: int, seed: int = 0) -> list[Subject]:
    """Two sevenths test, one seventh validation, the rest training, at least one of each, and in every split every
    second (training: every third) scan cropped."""
    test, val = max(1, round(subjects * 2 / 7)), max(1, round(subjects / 7))
    plan = []
    for split, count, period in (("train", subjects - test - val, 3), ("val", val, 2), ("test", test, 2)):
        for index in range(count):
            number = len(plan)
            plan.append(Subject(f"s{number:04d}", split, index % period == period - 1, seed * 10007 + number))
    return plan


def generate(subject: Subject, *, spacing: float = DEFAULT_SPACING_MM) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One scan: (CT int16 in HU [X, Y, Z], labels uint8 [X, Y, Z], affine [4, 4]), RAS, isotropic `spacing` in mm.

    The same subject and spacing give the same arrays.
    """
    generator = np.random.default_rng(subject.seed)
    low, high = _field_of_view(subject, generator)
    shape = np.maximum(np.round((high - low) / spacing).astype(int), 1)
    positions = _nominal_positions(low, shape, spacing, generator)
    labels, hounsfield = _paint(positions, generator)
    blurred = gaussian_filter(hounsfield, BLUR_VOXELS)
    blurred += generator.normal(0, NOISE_HU, blurred.shape).astype(np.float32)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = low + spacing / 2
    return np.clip(np.round(blurred), -1024, 3071).astype(np.int16), labels, affine


def _field_of_view(subject: Subject, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the scan in mm: the whole torso, or a slab of it between the hips and the neck."""
    low = LOWEST_MM + generator.uniform(-1, 1, 3) * PLACEMENT_MM
    high = low + FIELD_MM
    if subject.partial:
        length = generator.uniform(*PARTIAL_LENGTH_MM)
        low[2] = generator.uniform(120.0, 590.0 - length)
        high[2] = low[2] + length
    return low, high


def _nominal_positions(
    low: np.ndarray, shape: np.ndarray, spacing: float, generator: np.random.Generator
) -> np.ndarray:
    """[3, X, Y, Z] where each voxel of this subject lies in the nominal torso, in mm: stature and smooth waves."""
    axes = [low[axis] + spacing * (np.arange(shape[axis]) + 0.5) for axis in range(3)]
    centre = np.array([0.0, 0.0, 400.0])
    stature = 1 + STATURE_SPREAD * generator.standard_normal(3)
    grid = np.meshgrid(*[(a - c) / s + c for a, c, s in zip(axes, centre, stature, strict=True)], indexing="ij")
    positions = np.stack(grid).astype(np.float32)
    waves = np.zeros_like(positions)
    for axis in range(3):
        wavelength, phase = generator.uniform(250, 500, 3), generator.uniform(0, 2 * np.pi, 3)
        terms = [np.sin(2 * np.pi * positions[other] / wavelength[other] + phase[other]) for other in range(3)]
        waves[axis] = WAVE_MM / 2 * (terms[(axis + 1) % 3] + terms[(axis + 2) % 3])
    return positions + waves


def _paint(positions: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels uint8 and noiseless float32 HU of the torso at these nominal positions."""
    structures, facts = torso()
    dataset = get_dataset("totalseg")
    organs = set(dataset.groups["organs"])
    hounsfield = np.full(positions.shape[1:], facts["filling"]["air"], dtype=np.float32)
    hounsfield[_body(positions, facts)] = facts["filling"]["fat"]
    labels = np.zeros(positions.shape[1:], dtype=np.uint8)
    for structure in structures:
        value = structure.hounsfield + HU_SPREAD * generator.standard_normal()
        shift, size = ORGAN_SHIFT_MM * generator.standard_normal(3), 1 + ORGAN_SIZE_SPREAD * generator.standard_normal()
        for solid in structure.solids:
            moves = structure.name in organs and not len(solid.keep)  # lobes have to go on sharing their fissures
            box, inside = _rasterise(solid.moved(shift, size) if moves else solid, positions)
            hounsfield[box][inside] = value
            labels[box][inside] = dataset.class_numbers[structure.name]
    return labels, hounsfield


def _body(positions: np.ndarray, facts: dict[str, Any]) -> np.ndarray:
    """Soft tissue: the trunk between its outlines, legs, arms and head."""
    heights, widths, depths = np.array(facts["outline"], dtype=float).T
    z = positions[2]
    ellipse = (positions[0] / np.interp(z, heights, widths)) ** 2 + (positions[1] / np.interp(z, heights, depths)) ** 2
    body = (ellipse <= 1) & (z >= heights[0]) & (z <= heights[-1])
    for part in facts["body_parts"]:
        for solid in solids_of(part):
            box, inside = _rasterise(solid, positions)
            body[box] |= inside
    return body


def _rasterise(solid: Solid, positions: np.ndarray) -> tuple[tuple[slice, ...], np.ndarray]:
    """(sub-box of the grid that can hold the solid, bool in that box)."""
    low, high = solid.box
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        span = positions[axis]
        rows = np.flatnonzero((span.max(axis=others) >= low[axis]) & (span.min(axis=others) <= high[axis]))
        box.append(slice(rows[0], rows[-1] + 1) if len(rows) else slice(0, 0))
    box = tuple(box)
    return box, solid.contains(positions[(slice(None), *box)])


def default_settings() -> dict[str, Any]:
    """What decides the phantom that `fetch --phantom` writes."""
    return {"version": VERSION, "subjects": DEFAULT_SUBJECTS, "spacing": DEFAULT_SPACING_MM, "seed": 0}


def write_phantom(
    root: Path,
    *,
    subjects: int = DEFAULT_SUBJECTS,
    spacing: float = DEFAULT_SPACING_MM,
    seed: int = 0,
    processes: int | None = None,
) -> dict[str, Any]:
    """Write a phantom data set into `root`, unless it is there already with the same settings; returns the settings.

    A folder with other settings is replaced; one that was not finished is continued.

    Raises:
        InputError: fewer than three subjects (one per split), or voxels that are not between 1 and 20 mm.
    """
    if subjects < 3 or not 1 <= spacing <= 20:
        raise InputError(
            "there is no such phantom", expected="at least 3 subjects, 1 to 20 mm", found=f"{subjects}, {spacing} mm"
        )
    settings = {"version": VERSION, "subjects": subjects, "spacing": spacing, "seed": seed}
    marker = root / "phantom.json"
    if marker.exists() and read_json(marker) == settings | {"finished": True}:
        return settings
    if not marker.exists() or read_json(marker) != settings | {"finished": False}:
        shutil.rmtree(root, ignore_errors=True)
        write_json(marker, settings | {"finished": False})
    plan = plan_subjects(subjects, seed)
    remaining = [subject for subject in plan if not (root / subject.id).exists()]
    work = map_processes(partial(_write_subject, root, spacing), remaining, processes=processes)
    for _ in track(work, total=len(remaining), description="generating the phantom"):
        pass
    _write_meta(root / "meta.csv", plan)
    write_json(marker, settings | {"finished": True})
    return settings


def _write_subject(root: Path, spacing: float, subject: Subject) -> None:
    """One case folder, which appears when it is complete."""
    image, labels, affine = generate(subject, spacing=spacing)
    temporary = root / f".writing-{subject.id}"
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "segmentations").mkdir(parents=True)
    nibabel.Nifti1Image(image, affine).to_filename(temporary / "ct.nii.gz")
    for name, number in get_dataset("totalseg").class_numbers.items():
        mask = (labels == number).astype(np.uint8)
        nibabel.Nifti1Image(mask, affine).to_filename(temporary / "segmentations" / f"{name}.nii.gz")
    temporary.rename(root / subject.id)


def _write_meta(path: Path, plan: Sequence[Subject]) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, META_COLUMNS, delimiter=";", restval="")
        writer.writeheader()
        for subject in plan:
            study = "phantom, cropped" if subject.partial else "phantom, whole body"
            writer.writerow({"image_id": subject.id, "split": subject.split, "study_type": study})
