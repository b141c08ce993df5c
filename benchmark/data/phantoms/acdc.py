"""ACDC: short-axis cine MR, `database/{training,testing}/patient001/` with Info.cfg, the film and two labelled frames.

Drawn slice by slice: a left ventricle in its muscle, the right ventricle as a crescent at its side, lungs, chest wall,
liver. Groups differ as their diseases do: dilated (DCM), thick (HCM), hardly contracting (MINF), wide at right (RV).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.data.phantoms.base import Phantom, Subject, count_splits, seed_of
from benchmark.data.phantoms.volumes import acquire_mr, affine_of, write_volume
from benchmark.files import write_text

RIGHT, MUSCLE, LEFT = 1, 2, 3
FOLDERS = {"train": "training", "test": "testing"}
FIELD_MM, THICKNESS_MM, SLICES = np.array([200.0, 220.0]), 10.0, (7, 10)
WIDEST = 2.0  # times FIELD_MM, of the widest field of view; one that is wider may lie farther off
FRAMES, END_DIASTOLE, END_SYSTOLE = 6, 1, (3, 4)
PLACEMENT_MM, MOTION_MM = 16.0, 1.0
SIGNAL = {"air": 8, "wall": 760, "muscle": 240, "lung": 45, "fat": 640, "liver": 400, "blood": 900, "heart": 190}
#         radius of the left ventricle, thickness of its wall, radius of the right one (mm), shortening of the radius
GROUPS = {
    "DCM": (31.0, 8.0, 34.0, 0.12),
    "HCM": (21.0, 15.0, 31.0, 0.4),
    "MINF": (28.0, 9.0, 32.0, 0.16),
    "NOR": (25.0, 9.0, 32.0, 0.34),
    "RV": (23.0, 9.0, 42.0, 0.3),
}


@dataclass(frozen=True)
class Heart:
    """One patient's heart at rest, in mm; `tilt` is what the centre moves from base to apex."""

    centre: np.ndarray
    tilt: np.ndarray
    angle: float
    left: float
    wall: float
    right: float
    shortening: float

    def draw(self, x: np.ndarray, y: np.ndarray, height: float, contraction: float) -> np.ndarray:
        """Labels uint8 [X, Y] at a height from 0 (base) to 1 (apex) and a contraction from 0 to 1."""
        taper = np.sqrt(max(1 - (0.85 * height) ** 2, 0))
        inner = self.left * taper * (1 - self.shortening * contraction)
        outer = inner + self.wall * (1 + self.shortening * contraction)
        u, v = x - self.centre[0] - self.tilt[0] * height, y - self.centre[1] - self.tilt[1] * height
        distance = np.hypot(u, v)
        aside = self.left + 0.35 * self.right
        right = self.right * (1 - 0.55 * height) * (1 - 0.6 * self.shortening * contraction)
        from_right = np.hypot((u - aside * np.cos(self.angle)), (v - aside * np.sin(self.angle)) / 1.25)
        labels = np.zeros(x.shape, np.uint8)
        labels[from_right <= right] = RIGHT
        labels[distance <= outer] = MUSCLE
        labels[distance <= inner] = LEFT
        return labels


class AcdcPhantom(Phantom):
    """Patients of both official folders, one of each group in turn."""

    version = 2

    def plan(self, subjects: int, seed: int = 0) -> list[Subject]:
        """Training patients from each block of twenty in turn, testing patients from 101."""
        train, _, test = count_splits(subjects, with_validation=False)
        names = list(GROUPS)
        listed = [("train", 1 + 20 * (k % 5) + k // 5, names[k % 5]) for k in range(min(train, 100))]
        listed += [("test", 101 + k, names[k % 5]) for k in range(min(test, 50))]
        return [
            Subject(f"patient{number:03d}", split, seed_of(seed, index), group)
            for index, (split, number, group) in enumerate(listed)
        ]

    def write_subject(self, root: Path, spacing: float | None, subject: Subject) -> None:
        film, labels, affine, systole = generate(subject, spacing=self.voxel_side(spacing))
        folder = root / "database" / FOLDERS[subject.split] / subject.id
        write_volume(folder / f"{subject.id}_4d.nii.gz", film, affine, "LPS")
        for frame in (END_DIASTOLE, systole):
            name = f"{subject.id}_frame{frame:02d}"
            write_volume(folder / f"{name}.nii.gz", film[..., frame - 1], affine, "LPS")
            write_volume(folder / f"{name}_gt.nii.gz", labels[..., frame - 1], affine, "LPS")
        facts = {"ED": END_DIASTOLE, "ES": systole, "Group": subject.kind, "Height": 170.0, "NbFrame": FRAMES}
        write_text(
            folder / "Info.cfg", "".join(f"{key}: {value}\n" for key, value in (facts | {"Weight": 70.0}).items())
        )


def generate(subject: Subject, *, spacing: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """One film: (int16 [X, Y, Z, T], labels uint8 [X, Y, Z, T], affine [4, 4], number of the end-systolic frame)."""
    generator = subject.generator()
    field = FIELD_MM * generator.uniform(1.0, WIDEST)
    middle = generator.uniform(-1, 1, 2) * (field - FIELD_MM) / 3
    size = np.round(field / spacing).astype(int)
    slices, systole = (
        int(generator.integers(*SLICES, endpoint=True)),
        int(generator.integers(*END_SYSTOLE, endpoint=True)),
    )
    axes = [(np.arange(n) + 0.5 - n / 2) * spacing + centre for n, centre in zip(size, middle, strict=True)]
    x, y = np.meshgrid(*axes, indexing="ij")
    x, y = -x, -y  # as seen from the feet: to the patient's left, and to the back
    heart, body = _heart(subject.kind, generator), _chest(x, y, generator)
    labels = np.zeros((*size, slices, FRAMES), np.uint8)
    for frame in range(FRAMES):
        contraction = np.sin(np.pi / 2 * min(frame / (systole - 1), (FRAMES - frame) / (FRAMES - systole + 1)))
        for index in range(slices):
            jitter = generator.normal(0, MOTION_MM, 2)  # breath-holds differ
            labels[..., index, frame] = heart.draw(x - jitter[0], y - jitter[1], index / (slices - 1), contraction)
    signal = np.repeat(np.repeat(body[:, :, None, None], slices, axis=2), FRAMES, axis=3)
    for label, tissue in ((RIGHT, "blood"), (MUSCLE, "heart"), (LEFT, "blood")):
        signal[labels == label] = SIGNAL[tissue] * (0.9 if label == RIGHT else 1.0)
    state = generator.integers(2**32)  # one shading, one scale and one noise for the whole film
    film = np.stack([acquire_mr(signal[..., t], np.random.default_rng(state)) for t in range(FRAMES)], axis=-1)
    sides = np.array([spacing, spacing, THICKNESS_MM])
    return film, labels, affine_of(np.array([*(middle - field / 2), 0.0]), sides), systole


def _heart(group: str, generator: np.random.Generator) -> Heart:
    left, wall, right, shortening = np.array(GROUPS[group]) * generator.uniform(0.9, 1.1, 4)
    centre, tilt = generator.uniform(-1, 1, 2) * PLACEMENT_MM, generator.uniform(-6, 6, 2)
    return Heart(centre, tilt, np.deg2rad(generator.uniform(140, 200)), left, wall, right, shortening)


def _chest(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Signal float32 [X, Y] around the heart, in slices that lie as the heart does."""
    u, v = x - generator.uniform(-8, 8), y - generator.uniform(-8, 8)
    signal = np.full(x.shape, SIGNAL["air"], np.float32)
    for tissue, (left, back), (width, depth) in (
        ("wall", (0, 10), (104, 108)),
        ("muscle", (0, 10), (95, 99)),
        ("lung", (-58, -18), (34, 60)),
        ("lung", (52, 14), (38, 68)),
        ("liver", (-48, 54), (44, 38)),
        ("fat", (-4, -4), (58, 54)),
        ("wall", (2, 88), (15, 14)),  # marrow of the spine
        ("blood", (26, 66), (11, 11)),  # descending aorta
    ):
        signal[((u - left) / width) ** 2 + ((v - back) / depth) ** 2 <= 1] = SIGNAL[tissue]
    return signal


phantom = AcdcPhantom(name="acdc", subjects=10, spacing=3.5)
