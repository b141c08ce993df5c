"""Scans of one nominal body (a yaml beside this module) in a contrast, and in the layout of a data set.

Subjects differ in stature, in where they lie, in the height of the field of view, in a smooth deformation, in each
structure's place, size and brightness, in noise, and in magnetic resonance in shading and scale.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmark.data.phantoms.anatomy import Anatomy, Variation, deform, paint, read_anatomy
from benchmark.data.phantoms.base import Phantom, Subject, count_splits, seed_of
from benchmark.data.phantoms.volumes import acquire_ct, acquire_mr, affine_of, write_volume
from benchmark.datasets import get_dataset
from benchmark.files import load_yaml, write_json

PLACEMENT_MM = np.array([26.0, 18.0, 12.0])  # nobody lies exactly in the middle, so that places alone tell little
VARIATION = Variation(organ_shift_mm=4.0, organ_size=0.06)
MR_VALUE_SPREAD = 10.0
CORONAL_DEPTH = 0.64  # of the width: no slices before and behind the body
CORONAL = " coronal"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Scan:
    """A case of the data set that a phantom may use.

    Attributes:
        id: of the case, as the data set's reader names it.
        image, labels: file names under the root.
        kind: contrast ("ct", "mr" or "ce"), with " coronal" behind it where the slices are coronal.
        axes: how the arrays are stored.
    """

    id: str
    image: str
    labels: str
    kind: str = "ct"
    axes: str = "RAS"


@dataclass(frozen=True, kw_only=True)
class Scans(Phantom):
    """One image and one label file for each case.

    Attributes:
        anatomy: yaml of the nominal body.
        numbers: value of each structure in the label files.
        scans: cases that may be used, in this order.
        centre: of the field of view in the plane, mm.
        heights: lowest and highest slice, mm.
        width: side of the square axial slices, mm.
        widest: times `width`, of the widest field of view (1: all have one width); a wider one may lie farther off.
        slice_ratio: slice thickness over the side of a pixel.
        facts: where the data set has its dataset.json; empty for none.
    """

    version = 4

    anatomy: str = "abdomen"
    numbers: Mapping[str, int]
    scans: Sequence[Scan]
    centre: tuple[float, float] = (0.0, 0.0)
    heights: tuple[float, float]
    width: float = 370.0
    widest: float = 1.35
    slice_ratio: float = 2.4
    facts: str = ""

    def plan(self, subjects: int, seed: int = 0) -> list[Subject]:
        """Cases in the order of `scans` within each split of the data set, as far as there are cases.

        A case's seed is its place in `scans`, so that data sets which share scans have the same ones.
        """
        parts = self._parts()
        counts = count_splits(subjects, with_validation=bool(parts["val"]))
        return [
            Subject(scan.id, split, seed_of(seed, self.scans.index(scan)), scan.kind)
            for split, count in zip(SPLITS, counts, strict=True)
            for scan in parts[split][:count]
        ]

    def _parts(self) -> dict[str, list[Scan]]:
        """Scans by split, the contrasts in turn: test and validation cases are those that the data set lists."""
        dataset = get_dataset(self.name)
        listed = {split: set(getattr(dataset, f"{split}_cases", ())) for split in ("val", "test")}
        parts: dict[str, list[Scan]] = {split: [] for split in SPLITS}
        for scan in self.scans:
            parts[next((split for split in listed if scan.id in listed[split]), "train")].append(scan)
        return {split: _in_turn(scans) for split, scans in parts.items()}

    def write_subject(self, root: Path, spacing: float | None, subject: Subject) -> None:
        image, labels, affine = self.generate(subject, spacing=self.voxel_side(spacing))
        scan = next(scan for scan in self.scans if scan.id == subject.id)
        write_volume(root / scan.image, image, affine, scan.axes)
        write_volume(root / scan.labels, labels, affine, scan.axes)

    def write_tables(self, root: Path, plan: Sequence[Subject]) -> None:
        """The dataset.json of the archives: label numbers in the form of nnU-Net's first version."""
        if self.facts:
            labels = {"0": "background"} | {str(number): name for name, number in self.numbers.items()}
            training = sum(subject.split != "test" for subject in plan)
            write_json(root / self.facts, {"name": self.name, "labels": labels, "numTraining": training})

    def generate(self, subject: Subject, *, spacing: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One scan: (int16 [X, Y, Z], labels uint8, or uint16 where numbers need it, affine [4, 4]), RAS.

        Pixels have `spacing` mm; slices, from foot to head or from back to front where coronal, are thicker.
        """
        generator = subject.generator()
        contrast = contrast_of(subject.kind)
        coronal = subject.kind.endswith(CORONAL)
        sides = np.full(3, spacing)
        sides[1 if coronal else 2] *= self.slice_ratio * generator.uniform(0.9, 1.1)
        low, size = self._field_of_view(coronal, generator)
        shape = np.maximum(np.round(size / sides).astype(int), 1)
        middle = np.array([*self.centre, sum(self.heights) / 2])
        positions = deform(low, shape, sides, middle, generator, VARIATION)
        variation = VARIATION if contrast == "ct" else replace(VARIATION, value=MR_VALUE_SPREAD)
        anatomy = self.vary(read_anatomy(self.anatomy, contrast), generator)
        labels, values = paint(anatomy, positions, self.numbers, self.numbers, generator, variation)
        image = (acquire_ct if contrast == "ct" else acquire_mr)(values, generator)
        smallest = np.uint8 if max(self.numbers.values()) < 256 else np.uint16
        return image, labels.astype(smallest), affine_of(low, sides)

    def vary(self, anatomy: Anatomy, generator: np.random.Generator) -> Anatomy:
        """The nominal body of one subject, before it is deformed: here the same for all."""
        return anatomy

    def _field_of_view(self, coronal: bool, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(lowest corner, size) in mm."""
        lowest, highest = self.heights
        width = self.width * (generator.uniform(1.0, self.widest) if self.widest > 1 else 1.0)
        size = np.array([width, width * (CORONAL_DEPTH if coronal else 1.0), highest - lowest])
        low = np.array([*(np.array(self.centre) - size[:2] / 2), lowest])
        room = np.array([*[(width - self.width) / 4] * 2, 0.0])
        return low + generator.uniform(-1, 1, 3) * (PLACEMENT_MM + room), size


def contrast_of(kind: str) -> str:
    """`mr coronal` → `mr`."""
    return kind.removesuffix(CORONAL)


def _in_turn(scans: Sequence[Scan]) -> list[Scan]:
    """The first scan of each contrast, then the second of each, and so on."""
    seen: Counter[str] = Counter()
    rank = {}
    for scan in scans:
        seen[contrast_of(scan.kind)] += 1
        rank[scan.id] = seen[contrast_of(scan.kind)]
    return sorted(scans, key=lambda scan: rank[scan.id])


def label_numbers(anatomy: str, order: str) -> dict[str, int]:
    """Label number of each structure in one of the published orders that an anatomy's yaml has under `numbers`."""
    facts = load_yaml(Path(__file__).with_name(f"{anatomy}.yaml").read_text(encoding="utf-8"))["numbers"][order]
    return dict(facts) if isinstance(facts, Mapping) else {name: number for number, name in enumerate(facts, start=1)}
