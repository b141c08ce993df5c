"""A body described in yaml (structures made of solids, in the order they are painted), deformed and painted on a grid.

An anatomy's file has `outline` (rows of z, half width, half depth of the trunk; absent: no trunk), `body_parts` (solids
of soft tissue outside it), `filling` and `structures`. A value (of a structure, of the filling) is a number, or one per
contrast: `{ct: 110, mr: 330}`. `<side>` in a name makes a right structure as given and a mirrored left one; two values
in a list are for right and left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.phantoms.shapes import Solid, solids_of
from benchmark.files import load_yaml

SIDE = "<side>"


@dataclass(frozen=True)
class Structure:
    """One structure of a nominal body."""

    name: str
    value: float
    solids: tuple[Solid, ...]


@dataclass(frozen=True)
class Anatomy:
    """A nominal body in one contrast.

    Attributes:
        structures: in the order they are painted, later over earlier.
        outline: [R, 3] z, half width and half depth of the trunk in mm; no row where there is no trunk.
        body: soft tissue outside the trunk.
        outside: value of the air around.
        filling: value of soft tissue between the structures.
    """

    structures: tuple[Structure, ...]
    outline: np.ndarray
    body: tuple[Solid, ...]
    outside: float
    filling: float


@dataclass(frozen=True)
class Variation:
    """How much bodies differ: standard deviations, but for `wave_mm` (amplitude)."""

    stature: float = 0.03
    wave_mm: float = 5.0
    organ_shift_mm: float = 2.5
    organ_size: float = 0.05
    value: float = 3.0


@cache
def read_anatomy(name: str, contrast: str = "") -> Anatomy:
    """The anatomy of `<name>.yaml` beside this module, with the values of one contrast."""
    facts = load_yaml(Path(__file__).with_name(f"{name}.yaml").read_text(encoding="utf-8"))
    structures = []
    for entry in facts["structures"]:
        solids = tuple(solid for part in entry["parts"] for solid in solids_of(part))
        value = _of_contrast(entry["value"], contrast)
        right, left = value if isinstance(value, list) else (value, value)
        structures.append(Structure(entry["name"].replace(SIDE, "right"), right, solids))
        if SIDE in entry["name"]:
            mirrored = tuple(solid.mirrored() for solid in solids)
            structures.append(Structure(entry["name"].replace(SIDE, "left"), left, mirrored))
    filling = {name: _of_contrast(value, contrast) for name, value in facts["filling"].items()}
    return Anatomy(
        tuple(structures),
        np.array(facts.get("outline", ()), dtype=float).reshape(-1, 3),
        tuple(solid for part in facts.get("body_parts", ()) for solid in solids_of(part)),
        filling["air"],
        filling["fat"],
    )


def _of_contrast(value: Any, contrast: str) -> Any:
    return value[contrast] if isinstance(value, Mapping) else value


def deform(
    low: np.ndarray,
    shape: np.ndarray,
    spacing: float | np.ndarray,
    centre: np.ndarray,
    generator: np.random.Generator,
    variation: Variation = Variation(),
) -> np.ndarray:
    """[3, X, Y, Z] where each voxel of a subject lies in the nominal body, in mm: stature and smooth waves.

    Args:
        low: corner of the grid in mm.
        shape: voxels per axis.
        spacing: mm per voxel, one number or one per axis.
        centre: point in mm that stature does not move.
    """
    spacing = np.broadcast_to(spacing, 3)
    axes = [low[axis] + spacing[axis] * (np.arange(shape[axis]) + 0.5) for axis in range(3)]
    stature = 1 + variation.stature * generator.standard_normal(3)
    grid = np.meshgrid(*[(a - c) / s + c for a, c, s in zip(axes, centre, stature, strict=True)], indexing="ij")
    positions = np.stack(grid).astype(np.float32)
    waves = np.zeros_like(positions)
    for axis in range(3):
        wavelength, phase = generator.uniform(250, 500, 3), generator.uniform(0, 2 * np.pi, 3)
        terms = [np.sin(2 * np.pi * positions[other] / wavelength[other] + phase[other]) for other in range(3)]
        waves[axis] = variation.wave_mm / 2 * (terms[(axis + 1) % 3] + terms[(axis + 2) % 3])
    return positions + waves


def paint(
    anatomy: Anatomy,
    positions: np.ndarray,
    numbers: Mapping[str, int],
    moving: Collection[str],
    generator: np.random.Generator,
    variation: Variation = Variation(),
) -> tuple[np.ndarray, np.ndarray]:
    """(labels uint16 [X, Y, Z], noiseless float32 values [X, Y, Z]) of an anatomy at these nominal positions.

    Args:
        numbers: label of each structure; those not named are painted without a label.
        moving: structures whose place and size vary by themselves; of these, what is cut by a plane keeps to it.
    """
    values = np.full(positions.shape[1:], anatomy.outside, dtype=np.float32)
    values[inside_body(anatomy, positions)] = anatomy.filling
    labels = np.zeros(positions.shape[1:], dtype=np.uint16)
    for structure in anatomy.structures:
        value = structure.value + variation.value * generator.standard_normal()
        shift = variation.organ_shift_mm * generator.standard_normal(3)
        size = 1 + variation.organ_size * generator.standard_normal()
        for solid in structure.solids:
            moves = structure.name in moving and not len(solid.keep)  # lobes have to go on sharing their fissures
            box, inside = rasterise(solid.moved(shift, size) if moves else solid, positions)
            values[box][inside] = value
            labels[box][inside] = numbers.get(structure.name, 0)
    return labels, values


def inside_body(anatomy: Anatomy, positions: np.ndarray) -> np.ndarray:
    """bool [X, Y, Z], soft tissue: the trunk between its outlines, and the body's other parts."""
    body = np.zeros(positions.shape[1:], dtype=bool)
    if len(anatomy.outline):
        heights, widths, depths = anatomy.outline.T
        x, y, z = positions
        ellipse = (x / np.interp(z, heights, widths)) ** 2 + (y / np.interp(z, heights, depths)) ** 2
        body = (ellipse <= 1) & (z >= heights[0]) & (z <= heights[-1])
    for solid in anatomy.body:
        box, inside = rasterise(solid, positions)
        body[box] |= inside
    return body


def rasterise(solid: Solid, positions: np.ndarray) -> tuple[tuple[slice, ...], np.ndarray]:
    """(sub-box of the grid that can hold the solid, bool in that box)."""
    low, high = solid.box
    sides = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        span = positions[axis]
        rows = np.flatnonzero((span.max(axis=others) >= low[axis]) & (span.min(axis=others) <= high[axis]))
        sides.append(slice(rows[0], rows[-1] + 1) if len(rows) else slice(0, 0))
    box = tuple(sides)
    return box, solid.contains(positions[(slice(None), *box)])
