"""The solids that phantoms are made of: signed membership of points in ellipsoids, tubes, vertebrae and ribs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

RIB_POINTS = 14
RIB_RADIUS_MM = 5.5
RIB_FIRST_ANGLE = 0.12  # share of the half circle that the vertebra takes up


@dataclass(frozen=True)
class Solid:
    """A convex-ish solid with a bounding box.

    Attributes:
        points: [P, 3] centre of an ellipsoid (P = 1) or the axis of a tube (P >= 2), in mm.
        radii: [3] of the ellipsoid; of a tube all equal.
        keep: rows (a, b, c, d): only points with a x + b y + c z <= d belong to it.
    """

    points: np.ndarray
    radii: np.ndarray
    keep: np.ndarray

    def mirrored(self) -> Solid:
        """The same on the other side of the body (x → -x)."""
        flip = np.array([-1.0, 1.0, 1.0])
        keep = self.keep * np.array([-1.0, 1.0, 1.0, 1.0]) if len(self.keep) else self.keep
        return Solid(self.points * flip, self.radii, keep)

    def moved(self, shift: np.ndarray, factor: float) -> Solid:
        """Shifted by mm and scaled about its own centre; the cutting planes stay."""
        centre = self.points.mean(axis=0)
        return Solid((self.points - centre) * factor + centre + shift, self.radii * factor, self.keep)

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        return self.points.min(axis=0) - self.radii, self.points.max(axis=0) + self.radii

    def contains(self, positions: np.ndarray) -> np.ndarray:
        """[3, ...] positions in mm → [...] bool."""
        if len(self.points) == 1:
            shape = (3,) + (1,) * (positions.ndim - 1)
            relative = (positions - self.points[0].reshape(shape)) / self.radii.reshape(shape)
            inside = (relative**2).sum(axis=0) <= 1
        else:
            inside = np.zeros(positions.shape[1:], dtype=bool)
            for start, end in zip(self.points[:-1], self.points[1:], strict=True):
                inside |= _squared_distance(positions, start, end) <= self.radii[0] ** 2
        for *normal, limit in self.keep:
            inside &= np.tensordot(np.array(normal), positions, axes=1) <= limit
        return inside


def _squared_distance(positions: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Squared distance in mm² of [3, ...] positions to the line segment from start to end."""
    shape = (3,) + (1,) * (positions.ndim - 1)
    axis = end - start
    relative = positions - start.reshape(shape)
    along = np.clip(np.tensordot(axis, relative, axes=1) / (axis @ axis), 0, 1)
    return ((relative - along * axis.reshape(shape)) ** 2).sum(axis=0)


def solids_of(part: dict[str, Any]) -> list[Solid]:
    """The solids of one entry of `parts` in an anatomy (abdomen.yaml, totalseg.yaml, …)."""
    if "ellipsoid" in part:
        return [_solid([part["ellipsoid"]], part["radii"], part.get("keep", ()))]
    if "tube" in part:
        return [_solid(part["tube"], [part["radius"]] * 3)]
    if "vertebra" in part:
        (y, z), (width, depth, height) = part["vertebra"], part["radii"]
        arch = [0, y - depth - 9, z - 1]  # behind the body; the cord is painted over its front
        return [_solid([[0, y, z]], [width, depth, height]), _solid([arch], [0.7 * width, 13, 0.8 * height])]
    return [_rib(part["rib"], part["width"], part["depth"], part["reach"], part["fall"])]


def _solid(points: Any, radii: Any, keep: Any = ()) -> Solid:
    return Solid(np.array(points, float), np.array(radii, float), np.array(keep, float).reshape(-1, 4))


def _rib(level: float, width: float, depth: float, reach: float, fall: float) -> Solid:
    """A hoop round the right half of the thorax from the spine forwards, falling towards the front."""
    share = np.linspace(RIB_FIRST_ANGLE, reach, RIB_POINTS)
    angle = np.pi * share
    points = np.stack([width * np.sin(angle), 4 - depth * np.cos(angle), level + 4 - fall * share / reach], axis=1)
    return _solid(points, [RIB_RADIUS_MM] * 3)
