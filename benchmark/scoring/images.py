"""Label maps from files, with spacing and geometry, as scores and controls need them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import tifffile
from nibabel import orientations
from PIL import Image
from scipy import ndimage

from benchmark.errors import InputError
from benchmark.images.files import ITK, JPEG, NIFTI, VOLUMES, ending_of, images_in, stem_of
from benchmark.images.geometry import AFFINE_TOLERANCE, SHEAR_IGNORED, directions, shear
from benchmark.images.itk import write_volume
from benchmark.images.labels import as_labels, rounding_of
from benchmark.images.nifti import Grid
from benchmark.images.pictures import label_picture_shape, read_picture_labels
from benchmark.images.volumes import read_grid, read_volume

WRITTEN = "NIfTI, MetaImage, NRRD, PNG, BMP or TIFF"


@dataclass(frozen=True)
class Geometry:
    """Grid of a label map.

    Attributes:
        shape: without the axis of length 1 of a volume of one slice.
        spacing: voxel sides per axis of `shape`, mm for volumes, 1 for pictures.
        affine: for volumes voxel → mm in RAS [4, 4].
        file_shape: as the file has it; empty: as `shape`.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    affine: np.ndarray | None = None
    file_shape: tuple[int, ...] = ()

    @property
    def axes(self) -> tuple[int, ...]:
        """The file's axes that `shape` has."""
        left_out = _thin_axis(self.file_shape)
        return tuple(axis for axis in range(len(self.shape) + (left_out is not None)) if axis != left_out)

    @property
    def is_picture(self) -> bool:
        """Whether lengths are pixels: a picture, or one that prepare or predict keep as NIfTI with two axes and the
        identity for an affine."""
        return self.affine is None or (len(self.file_shape) == 2 and np.array_equal(self.affine, np.eye(4)))

    @property
    def is_sheared(self) -> bool:
        """Whether distances measured along the axes would be wrong by more than 0.1 %."""
        return self.affine is not None and shear(self.affine) > SHEAR_IGNORED

    @property
    def directions(self) -> np.ndarray | None:
        """Unit vectors [3, axes] of the axes where they are sheared, else None: they may be taken as orthogonal."""
        if self.affine is None or not self.is_sheared:
            return None
        return directions(self.affine)[:, list(self.axes)]

    @property
    def voxel_size(self) -> float:
        """Volume (area of an image) of a voxel, in the unit of `spacing`."""
        size, sheared = math.prod(self.spacing), self.directions
        if sheared is not None:
            size *= math.sqrt(abs(np.linalg.det(sheared.T @ sheared)))
        return size


@dataclass(frozen=True)
class LabelMap:
    """A label map with its grid.

    Attributes:
        array: C-contiguous unsigned integers [H, W] or [X, Y, Z] in the file's own axis order.
    """

    array: np.ndarray
    geometry: Geometry


def case_of(path: Path) -> str:
    """The file name without its ending and without a final `_label` (NeurIPS CellSeg's), in Unicode's composed form."""
    return stem_of(path).removesuffix("_label")


def find_cases(folder: Path) -> dict[str, Path]:
    """Case id → file for every label map in a folder, sorted by id.

    A JPEG counts only where nothing else has its name, and reading it says what is wrong with it.

    Raises:
        InputError: if the folder is absent or two files have one id.
    """
    if not folder.is_dir():
        raise InputError("There is no such folder", where=folder, remedy="check the path")
    cases: dict[str, Path] = {}
    for path in images_in(folder):
        case = case_of(path)
        if case in cases and ending_of(path) in JPEG:
            continue  # a preview beside the label map
        if case in cases and ending_of(cases[case]) not in JPEG:
            raise InputError("Two files belong to one case", where=folder, found=f"{cases[case].name}, {path.name}")
        cases[case] = path
    return dict(sorted(cases.items()))


def read_geometry(path: Path) -> Geometry:
    """Shape, spacing and affine of a label map without reading its voxels; raises InputError if it is unreadable."""
    if ending_of(path) in VOLUMES:
        return _geometry_of(read_grid(path), path)
    shape = label_picture_shape(path)
    return Geometry(shape=shape, spacing=(1.0, 1.0), file_shape=shape)


def read_labels(path: Path) -> LabelMap:
    """Read a label map.

    A volume of a single slice along any axis is taken as an image. Whole numbers stored as float are accepted.

    Raises:
        InputError: if the file is unreadable, has more than one channel, or holds anything but integers from 0 on.
    """
    if ending_of(path) in VOLUMES:
        volume = read_volume(path)
        geometry = _geometry_of(volume.grid, path)
        array = as_labels(volume.array, path, tolerance=rounding_of(volume)).reshape(geometry.shape)
    else:
        array = as_labels(read_picture_labels(path), path)
        geometry = Geometry(shape=array.shape, spacing=(1.0, 1.0), file_shape=array.shape)
    return LabelMap(array=np.ascontiguousarray(array), geometry=geometry)


def resize_slices(labels: LabelMap, size: Sequence[int], axis: int) -> LabelMap:
    """A label map at another size, or its slices along `axis` where `size` has one side less, by scipy.ndimage.zoom of
    order 0 as the 2-D releases do. The unit is then the voxel."""
    shape = labels.array.shape
    sides = list(size) if len(size) == len(shape) else [*size[:axis], shape[axis], *size[axis:]]
    factors = [new / old for new, old in zip(sides, shape, strict=True)]
    array = np.ascontiguousarray(ndimage.zoom(labels.array, factors, order=0))
    return LabelMap(array, Geometry(array.shape, (1.0,) * array.ndim, None if array.ndim == 2 else np.eye(4)))


def turn_axes(labels: LabelMap, source: str, target: str) -> LabelMap:
    """A volume with its axes permuted and flipped from axis codes `source` to `target` (e.g. "LAS" to "RAS"); the unit
    is then the voxel."""
    change = orientations.ornt_transform(orientations.axcodes2ornt(source), orientations.axcodes2ornt(target))
    array = np.ascontiguousarray(orientations.apply_orientation(labels.array, change))
    return LabelMap(array, Geometry(array.shape, (1.0,) * array.ndim, np.eye(4)))


def _geometry_of(grid: Grid, path: Path) -> Geometry:
    if len(grid.shape) not in (2, 3):
        raise InputError(
            "This is not a label map",
            where=path,
            expected="whole numbers on two or three axes, one channel",
            found=f"{grid.dtype} of shape {grid.shape}",
            remedy="pass label maps, not images or probabilities",
        )
    thin = _thin_axis(grid.shape)
    kept = [axis for axis in range(len(grid.shape)) if axis != thin]
    return Geometry(
        shape=tuple(grid.shape[axis] for axis in kept),
        spacing=tuple(grid.sides[axis] for axis in kept),
        affine=grid.affine,
        file_shape=grid.shape,
    )


def _thin_axis(shape: tuple[int, ...]) -> int | None:
    """The axis across a volume of one slice: the last of length 1; None for other volumes and for images."""
    return max((axis for axis in range(3) if shape[axis] == 1), default=None) if len(shape) == 3 else None


def check_geometry(reference: Geometry, prediction: Geometry, *, where: str | Path) -> None:
    """Raise InputError unless the prediction lies on the reference's grid."""
    if reference.shape != prediction.shape or reference.axes != prediction.axes:
        raise InputError(
            "The prediction has another shape than the reference",
            where=where,
            expected=reference.file_shape or reference.shape,
            found=prediction.file_shape or prediction.shape,
            remedy="resample the prediction to the reference's grid (nearest neighbour)",
        )
    if reference.affine is None or prediction.affine is None:
        return
    difference = float(np.abs(reference.affine - prediction.affine).max())
    if not difference <= AFFINE_TOLERANCE:
        raise InputError(
            "The prediction has another affine (spacing, origin or orientation) than the reference",
            where=where,
            expected=reference.affine.round(4).tolist(),
            found=prediction.affine.round(4).tolist(),
            remedy="write predictions with the affine of the image they were made from",
        )


def write_labels(path: Path, array: np.ndarray, *, geometry: Geometry) -> None:
    """Write a label map in the format that the suffix of `path` names; the caller makes the path atomic.

    Raises:
        InputError: the suffix names a lossy format.
    """
    ending = ending_of(path.with_name(path.name.lstrip(".")))
    if ending in NIFTI:
        nib.save(nib.Nifti1Image(array.reshape(geometry.file_shape or geometry.shape), geometry.affine), path)
    elif ending in ITK and geometry.affine is not None:
        write_volume(path, array.reshape(geometry.file_shape or geometry.shape), geometry.affine)
    elif ending in (".png", ".bmp"):
        Image.fromarray(array).save(path)
    elif ending in (".tif", ".tiff"):
        tifffile.imwrite(path, array)
    else:
        raise InputError("label maps cannot be written in this format", where=path, expected=WRITTEN)
