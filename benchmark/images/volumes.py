"""Volumes in any format that holds their geometry: NIfTI by our own reader, MetaImage and NRRD by SimpleITK."""

from __future__ import annotations

from pathlib import Path

from benchmark.images import itk, nifti
from benchmark.images.files import ITK, ending_of
from benchmark.images.nifti import Grid, Volume


def read_grid(path: Path) -> Grid:
    """The header of a volume, without its voxels.

    Raises:
        InputError: it cannot be read, has no scalar voxels, or no one geometry.
    """
    return itk.read_grid(path) if ending_of(path, ITK) else nifti.read_grid(path)


def read_volume(path: Path) -> Volume:
    """A volume, read to the end of its file.

    Raises:
        InputError: as `read_grid`; truncated, damaged, or longer than its header says.
    """
    return itk.read_volume(path) if ending_of(path, ITK) else nifti.read_nifti(path)
