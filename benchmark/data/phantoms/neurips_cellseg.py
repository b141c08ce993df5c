"""Microscopy (NeurIPS 2022 cells): four kinds of pictures, `cell_00001.<format>` and `cell_00001_label.tiff`.

Bright-field, phase contrast, fluorescence, stained cells, in the mix of formats, depths and channels of the challenge.
Cells touch, and a label file numbers them from 1.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from benchmark.data.phantoms.base import Phantom, Subject, count_splits, seed_of
from benchmark.data.phantoms.pictures import smooth_field, to_bytes, write_picture

SIZE = 192
PARTS = {"train": "Training-labeled", "test": "Tuning"}
RADII = {"bright-field": (11, 15), "phase contrast": (13, 19), "fluorescence": (9, 14), "stained": (12, 17)}
SUFFIX = {"bright-field": ".bmp", "phase contrast": ".png", "fluorescence": ".tif", "stained": ".png"}
CLUSTERS, CELLS_IN_CLUSTER = (4, 7), (2, 6)
SMALLEST_CELL = 60  # pixels


class CellPhantom(Phantom):
    """The four kinds in turn."""

    version = 1

    def plan(self, subjects: int, seed: int = 0) -> list[Subject]:
        """Both parts count their pictures from 1, as the challenge does."""
        train, _, test = count_splits(subjects, with_validation=False)
        kinds = list(RADII)
        listed = [(split, index) for split, count in (("train", train), ("test", test)) for index in range(count)]
        return [
            Subject(f"cell_{index + 1:05d}", split, seed_of(seed, number), kinds[index % len(kinds)])
            for number, (split, index) in enumerate(listed)
        ]

    def write_subject(self, root: Path, spacing: float | None, subject: Subject) -> None:
        picture, instances = generate(subject)
        folder = root / PARTS[subject.split]
        write_picture(folder / "images" / f"{subject.id}{SUFFIX[subject.kind]}", picture)
        write_picture(folder / "labels" / f"{subject.id}_label.tiff", instances)


def generate(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """One picture: (uint8 [H, W, 3], or grey uint8 or uint16 [H, W], instances uint16 [H, W])."""
    generator = subject.generator()
    instances, depth = _cells(RADII[subject.kind], generator)
    return PAINTERS[subject.kind](instances, depth, generator), instances


def _cells(radii: tuple[int, int], generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(instances uint16 [H, W], depth [H, W] from 0 at a cell's border to about 1 in its middle).

    Ellipses with wavy outlines in clusters; where two overlap, the line between them is their common border.
    """
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    nearest, instances = np.ones((SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE), np.uint16)
    for number, (centre, radius) in enumerate(_places(radii, generator), start=1):
        angle, stretch = generator.uniform(0, np.pi), generator.uniform(1.0, 1.35)
        u = ((x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)) / (radius * stretch)
        v = (-(x - centre[0]) * np.sin(angle) + (y - centre[1]) * np.cos(angle)) / (radius / stretch)
        lobes, phase = generator.integers(3, 6), generator.uniform(0, 2 * np.pi)
        distance = np.hypot(u, v) * (1 + 0.06 * np.sin(lobes * np.arctan2(v, u) + phase))
        mine = distance < nearest
        nearest[mine], instances[mine] = distance[mine], number
    depth = np.zeros((SIZE, SIZE), np.float32)
    kept = 0
    for number in np.unique(instances[instances > 0]):
        cell = instances == number
        inside = distance_transform_edt(np.pad(cell, 1))[1:-1, 1:-1]
        instances[cell] = 0
        if cell.sum() >= SMALLEST_CELL:
            kept += 1
            instances[cell] = kept
            depth[cell] = (inside / inside.max())[cell]
    return instances, depth


def _places(radii: tuple[int, int], generator: np.random.Generator) -> list[tuple[np.ndarray, float]]:
    """(centre, radius) of cells in clusters, neighbours 1.6 radii apart, so that they touch."""
    places: list[tuple[np.ndarray, float]] = []
    for _ in range(generator.integers(*CLUSTERS, endpoint=True)):
        centre, direction = generator.uniform(0, SIZE, 2), generator.uniform(0, 2 * np.pi)
        for _ in range(generator.integers(*CELLS_IN_CLUSTER, endpoint=True)):
            radius = generator.uniform(*radii)
            if all(np.hypot(*(centre - other)) > 0.75 * (radius + size) for other, size in places):
                places.append((centre, radius))
            direction += generator.uniform(-1.2, 1.2)
            centre = centre + 1.65 * radius * np.array([np.cos(direction), np.sin(direction)])
    return places


def _of_each(instances: np.ndarray, low: float, high: float, generator: np.random.Generator) -> np.ndarray:
    """[H, W] one number between `low` and `high` for each cell."""
    return generator.uniform(low, high, int(instances.max()) + 1)[instances].astype(np.float32)


def _bright_field(instances: np.ndarray, depth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Transparent cells on light grey: a dark rim with a bright line inside it, and grains."""
    inside = instances > 0
    grey = 0.72 + 0.02 * smooth_field(instances.shape, 30, generator)
    rim = np.exp(-((depth / 0.16) ** 2)) * inside
    grey -= inside * 0.16 + 0.34 * rim - 0.24 * np.exp(-(((depth - 0.4) / 0.14) ** 2)) * inside
    grey -= inside * 0.10 * np.clip(smooth_field(instances.shape, 1.5, generator), 0, 2)
    noisy = gaussian_filter(grey, 0.6) + generator.normal(0, 0.012, grey.shape)
    return to_bytes(noisy[..., None] * np.array([1.0, 0.99, 0.95]))


def _phase_contrast(instances: np.ndarray, depth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Dark cells in bright halos on grey, with darker nuclei: one channel of 8 bit."""
    inside = instances > 0
    away = distance_transform_edt(~inside)
    grey = 0.46 + 0.03 * smooth_field(instances.shape, 20, generator)
    grey += 0.42 * np.exp(-(((away - 1.5) / 2.2) ** 2)) * ~inside
    grey -= inside * (0.14 + 0.16 * depth)
    grey += inside * 0.05 * smooth_field(instances.shape, 1.2, generator) + 0.25 * inside * np.exp(
        -((depth / 0.1) ** 2)
    )
    grey -= 0.12 * (depth > 0.7)
    return to_bytes(gaussian_filter(grey, 0.6) + generator.normal(0, 0.015, grey.shape))


def _fluorescence(instances: np.ndarray, depth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Bright cells on black, each as bright as it happens to be: one channel of 16 bit."""
    glow = _of_each(instances, 0.35, 1.0, generator) * (instances > 0) * (0.35 + 0.65 * np.sqrt(depth))
    glow *= 1 + 0.12 * smooth_field(instances.shape, 2, generator)
    signal = 300 + 9000 * np.clip(gaussian_filter(glow, 1.0), 0, None)
    return generator.poisson(np.clip(signal, 0, None) / 20).astype(np.uint16) * np.uint16(20)


def _stained(instances: np.ndarray, depth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A stained smear: pale ground, pink cytoplasm, purple nuclei."""
    ground, cytoplasm, nucleus = np.array([[0.93, 0.89, 0.86], [0.84, 0.62, 0.72], [0.42, 0.20, 0.52]])
    wavy = depth + 0.06 * smooth_field(instances.shape, 3, generator)
    core = np.clip((wavy - _of_each(instances, 0.3, 0.5, generator)) / 0.08, 0, 1)[..., None]
    inside = gaussian_filter((instances > 0) * np.clip(0.6 + 0.4 * (depth < 0.2) + 0.2, 0, 1), 0.5)[..., None]
    picture = ground * (1 - inside) + inside * (cytoplasm * (1 - core) + core * nucleus)
    picture -= 0.10 * (np.exp(-((depth / 0.12) ** 2)) * (instances > 0))[..., None]
    picture *= (1 + 0.03 * smooth_field(instances.shape, 25, generator))[..., None]
    return to_bytes(picture + generator.normal(0, 0.012, picture.shape))


PAINTERS: dict[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]] = {
    "bright-field": _bright_field,
    "phase contrast": _phase_contrast,
    "fluorescence": _fluorescence,
    "stained": _stained,
}

phantom = CellPhantom(name="neurips_cellseg", subjects=28, smallest=7)
