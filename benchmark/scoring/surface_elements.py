"""Areas of the surface elements that pass through a 2×2×2 (2×2) neighbourhood of voxels.

The marching-cubes surface of a binary neighbourhood, with vertices in the middle of the edges, consists of pieces whose
normals have only seven directions up to sign. The area of a code is therefore a sum of seven coefficients times a
length that depends on the spacing alone. The thirteen neighbourhoods below give all 256 by the 48 symmetries of the
cube and by exchanging inside and outside. The areas are those of google-deepmind/surface-distance (`lookup_tables.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations, product

import numpy as np

Direction = tuple[int, int, int]

# Neighbourhood code (bits as in kernels.corner_codes) → {direction of the normal: coefficient}
_BASE_CASES: dict[int, dict[Direction, float]] = {
    0b00000001: {(1, 1, 1): 0.125},
    0b00000011: {(1, 1, 0): 0.5},
    0b00000110: {(1, 1, 1): 0.25},
    0b00000111: {(1, 0, 0): 0.5, (1, 1, 1): 0.375},
    0b00001111: {(1, 0, 0): 1.0},
    0b00010110: {(1, 1, 1): 0.375},
    0b00010111: {(1, 1, 1): 0.75},
    0b00011000: {(1, 1, 1): 0.25},
    0b00011001: {(0, 1, 1): 0.5, (1, 1, 1): 0.125},
    0b00011011: {(1, 1, 1): 0.5, (0, 1, 1): 0.25, (1, 0, 1): 0.25},
    0b00011110: {(1, 0, 0): 0.5, (1, 1, 1): 0.5},
    0b00111100: {(1, 1, 0): 1.0},
    0b01101001: {(1, 1, 1): 0.5},
}
_DIRECTIONS: tuple[Direction, ...] = tuple(d for d in product((0, 1), (0, 1), (0, 1)) if any(d))


@lru_cache(maxsize=1)
def _coefficients() -> np.ndarray:
    """[256, 7] coefficients of the seven directions for every code."""
    table = np.zeros((256, len(_DIRECTIONS)))
    for code, pieces in _BASE_CASES.items():
        for order in permutations(range(3)):
            for flips in product((0, 1), repeat=3):
                image = _transform(code, order, flips)
                row = np.zeros(len(_DIRECTIONS))
                for direction, coefficient in pieces.items():
                    row[_DIRECTIONS.index(tuple(direction[axis] for axis in order))] = coefficient
                table[image] = table[255 - image] = row
    return table


def _transform(code: int, order: Sequence[int], flips: Sequence[int]) -> int:
    """The code after permuting axes (`order`) and mirroring those marked in `flips`."""
    image = 0
    for corner in product((0, 1), repeat=3):
        if code >> _bit(corner) & 1:
            image |= 1 << _bit([corner[axis] ^ flip for axis, flip in zip(order, flips, strict=True)])
    return image


def _bit(corner: Sequence[int]) -> int:
    return 7 - (4 * corner[0] + 2 * corner[1] + corner[2])


def surface_areas(spacing: Sequence[float]) -> np.ndarray:
    """Area of the surface through each of the 256 neighbourhood codes.

    Args:
        spacing: voxel size along the three axes.

    Returns:
        float64 [256], in the square of the unit of `spacing`; 0 for codes 0 and 255.
    """
    x, y, z = map(float, spacing)
    lengths = [np.linalg.norm([a * y * z, b * x * z, c * x * y]) for a, b, c in _DIRECTIONS]
    return _coefficients() @ np.asarray(lengths)


def contour_lengths(spacing: Sequence[float]) -> np.ndarray:
    """Length of the contour through each of the 16 codes of a 2×2 neighbourhood.

    Args:
        spacing: pixel size along the two axes.

    Returns:
        float64 [16], in the unit of `spacing`; 0 for codes 0 and 15.
    """
    rows, columns = map(float, spacing)
    diagonal = 0.5 * np.hypot(rows, columns)
    lengths = np.full(16, diagonal)
    lengths[[0b0000, 0b1111]] = 0.0
    lengths[[0b0011, 0b1100]] = columns
    lengths[[0b0101, 0b1010]] = rows
    lengths[[0b0110, 0b1001]] = 2 * diagonal
    return lengths
