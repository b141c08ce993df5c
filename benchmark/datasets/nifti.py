"""Reading NIfTI: the one reader that data sets, verify and prepare share."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError

from benchmark.errors import InputError

UNREADABLE = (OSError, EOFError, zlib.error, ImageFileError, ValueError)  # what nibabel raises on damaged files


def read_nifti(path: Path, *, dtype: np.dtype | type | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(array, affine [4, 4]) of a NIfTI file; scaled to float32 if the header says so, else in its stored type.

    Raises:
        InputError: missing, truncated, or not NIfTI.
    """
    try:
        image = nibabel.load(path)
        slope, intercept = image.dataobj.slope, image.dataobj.inter
        if slope == 1 and intercept == 0:
            array = np.asarray(image.dataobj.get_unscaled())
        else:
            array = image.get_fdata(dtype=np.float32, caching="unchanged")
    except UNREADABLE as error:
        raise InputError(
            "cannot read image",
            where=path,
            expected="a whole NIfTI file",
            found=f"{type(error).__name__}: {error}",
            remedy="fetch or copy the file again",
        ) from error
    return (array if dtype is None else array.astype(dtype, copy=False)), image.affine


def read_channels(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Stack one 3-D file per channel, or put the last axis of a single 4-D file first: ([C, *spatial], affine).

    Raises:
        InputError: channels differ in shape or affine, or cannot be read.
    """
    arrays, affines = zip(*(read_nifti(path) for path in paths), strict=True)
    if len(paths) == 1:
        array = arrays[0]
        return (np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None]), affines[0]
    for path, array, affine in zip(paths, arrays, affines, strict=True):
        if array.shape != arrays[0].shape or not same_affine(affine, affines[0]):
            raise InputError("channels differ in geometry", where=path, expected=arrays[0].shape, found=array.shape)
    return np.stack(arrays), affines[0]


def same_affine(first: np.ndarray, second: np.ndarray) -> bool:
    """Equal up to what float32 headers lose: 1e-3 mm."""
    return bool(np.allclose(first, second, rtol=0, atol=1e-3))
