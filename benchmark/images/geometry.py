"""One geometry of a volume for every command: its affine, in millimetres, checked when the file is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark.errors import InputError

AFFINE_TOLERANCE = 1e-3  # mm; files that went through float32 or SimpleITK differ by less
SIDE_TOLERANCE = 0.01  # relative; header fields that are rounded to two or three digits differ by less
SHEAR_IGNORED = 1e-3  # distances along the axes are wrong by at most this share
LARGEST_SHEAR = 0.5
MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # per NIfTI unit code: unknown (taken as mm), m, mm, micron


def voxel_sides(affine: np.ndarray) -> tuple[float, ...]:
    """Voxel sides in the affine's unit, in array order."""
    return tuple(float(side) for side in np.sqrt((np.asarray(affine)[:-1, :-1] ** 2).sum(axis=0)))


def directions(affine: np.ndarray) -> np.ndarray:
    """Unit vectors of the array axes as columns [3, 3]."""
    return np.asarray(affine, dtype=np.float64)[:3, :3] / voxel_sides(affine)


def shear(affine: np.ndarray) -> float:
    """By how large a share a distance can be wrong that is measured with voxel sides alone; 0 for right angles.

    A step d along the axes has the length |D d|, D the unit vectors of the axes, so the bound is the largest
    distance of D's singular values from 1.
    """
    return float(np.abs(np.linalg.svd(directions(affine), compute_uv=False) - 1).max())


def same_affine(first: np.ndarray, second: np.ndarray) -> bool:
    """Equal up to what float32 headers lose, 1e-3 mm; never where a number is missing."""
    return bool(np.allclose(first, second, rtol=0, atol=AFFINE_TOLERANCE))


def check_affine(affine: np.ndarray, pixdim: np.ndarray, path: Path) -> None:
    """The two places of a NIfTI header that say how large a voxel is must say the same.

    Programs differ in which of the two they believe (SimpleITK and nnU-Net pixdim, nibabel the affine), so that a file
    in which they disagree has no one size.

    Args:
        affine: voxel → world [4, 4].
        pixdim: the header's voxel sizes of the file's axes, two or three.

    Raises:
        InputError: an affine that is not finite or not invertible, sides that disagree by more than 1 %, or axes that
            are sheared beyond `LARGEST_SHEAR`.
    """
    remedy = "convert the image again, or write it with one geometry: sform, qform and pixdim from the same affine"
    sides = np.asarray(voxel_sides(affine))
    if not (np.isfinite(affine).all() and (sides > 0).all() and np.linalg.matrix_rank(affine[:3, :3] / sides) == 3):
        found = np.round(affine, 4).tolist()
        raise InputError(
            "the affine is no geometry", where=path, expected="finite, three axes", found=found, remedy=remedy
        )
    own = np.abs(pixdim.astype(np.float64))
    if not (np.abs(own - sides[: len(own)]) <= SIDE_TOLERANCE * sides[: len(own)]).all():
        raise InputError(
            "the header has two voxel sizes",
            where=path,
            expected=f"pixdim as in the affine: {sides[: len(own)].round(4).tolist()}",
            found=f"pixdim {pixdim.round(4).tolist()}",
            remedy=remedy,
        )
    if shear(affine) > LARGEST_SHEAR:
        raise InputError(
            "the axes are sheared",
            where=path,
            expected=f"a share of at most {LARGEST_SHEAR}",
            found=f"{shear(affine):.2f}",
            remedy="resample the image to a grid with right angles",
        )
