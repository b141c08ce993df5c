"""From painted tissue to a scan, and from a scan to a NIfTI file in a data set's orientation."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from scipy.ndimage import gaussian_filter

CT_NOISE_HU, BLUR_VOXELS = 12.0, 0.4
MR_NOISE, MR_SHADING = 12.0, 0.2  # of a contrast that runs from 0 to 1000


def acquire_ct(hounsfield: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Noiseless HU [X, Y, Z] to int16, blurred and noisy."""
    blurred = gaussian_filter(hounsfield, BLUR_VOXELS)
    blurred += generator.normal(0, CT_NOISE_HU, blurred.shape).astype(np.float32)
    return np.clip(np.round(blurred), -1024, 3071).astype(np.int16)


def acquire_mr(signal: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Noiseless signal 0 to 1000 [X, Y, Z] to int16 in arbitrary units: blurred, shaded by a coil, Rician noise, and
    scaled by a factor that differs from scan to scan."""
    slopes = generator.uniform(-MR_SHADING, MR_SHADING, 3)
    grid = np.meshgrid(*[np.linspace(-1, 1, size) for size in signal.shape], indexing="ij", sparse=True)
    shading = 1 + sum(slope * axis for slope, axis in zip(slopes, grid, strict=True))
    blurred = gaussian_filter(signal, BLUR_VOXELS) * shading
    real, imaginary = generator.normal(0, MR_NOISE, (2, *signal.shape))
    factor = np.exp(generator.uniform(np.log(0.5), np.log(2.0)))
    return np.round(factor * np.hypot(blurred + real, imaginary)).astype(np.int16)


def affine_of(low: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """[4, 4] of a RAS grid whose first corner is at `low` mm."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = low + spacing / 2
    return affine


def write_volume(path: Path, array: np.ndarray, affine: np.ndarray, axes: str = "RAS") -> None:
    """Write a RAS array [X, Y, Z] or [X, Y, Z, T] stored along other axes, e.g. "LPS"; the same bytes each time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(axes))
    turned = np.ascontiguousarray(apply_orientation(array, turn))
    nibabel.Nifti1Image(turned, affine @ inv_ornt_aff(turn, array.shape[:3])).to_filename(path)
