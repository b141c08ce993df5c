"""Images of data sets from volumes: one file per channel, or one that holds all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmark.errors import InputError
from benchmark.images import volumes
from benchmark.images.geometry import same_affine


def read_volume(path: Path, *, dtype: np.dtype | type | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(array, affine [4, 4] in mm) of a volume; scaled to float32 if the header says so, else in its stored type.

    Raises:
        InputError: missing, truncated, damaged, of another format, or without one geometry (benchmark.images).
    """
    volume = volumes.read_volume(path)
    return (volume.array if dtype is None else volume.array.astype(dtype, copy=False)), volume.grid.affine


def read_channels(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Stack one 3-D file per channel, or put the last axis of a single 4-D file first: ([C, *spatial], affine).

    Raises:
        InputError: channels differ in shape or affine, or cannot be read.
    """
    arrays, affines = zip(*(read_volume(path) for path in paths), strict=True)
    if len(paths) == 1:
        array = arrays[0]
        return (np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None]), affines[0]
    for path, array, affine in zip(paths, arrays, affines, strict=True):
        if array.shape != arrays[0].shape or not same_affine(affine, affines[0]):
            raise InputError("channels differ in geometry", where=path, expected=arrays[0].shape, found=array.shape)
    return np.stack(arrays), affines[0]
