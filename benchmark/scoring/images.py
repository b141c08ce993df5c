"""Label maps from files: NIfTI, PNG and TIFF, with spacing and geometry."""

from __future__ import annotations

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

NIFTI, IMAGES = (".nii.gz", ".nii"), (".png", ".tiff", ".tif")
SUFFIXES = (*NIFTI, *IMAGES)
AFFINE_TOLERANCE = 1e-3  # mm; files that went through float32 or SimpleITK differ by less
LARGEST_LABEL = 2**22  # counts take room for every value up to the largest one

Image.MAX_IMAGE_PIXELS = None  # whole-slide label maps are large on purpose


@dataclass(frozen=True)
class Geometry:
    """Grid of a label map: shape, spacing (mm for NIfTI, 1 for images) and, for NIfTI, the affine to mm in RAS."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    affine: np.ndarray | None = None


@dataclass(frozen=True)
class LabelMap:
    """A label map with its grid.

    Attributes:
        array: C-contiguous unsigned integers [H, W] or [X, Y, Z] in the file's own axis order.
    """

    array: np.ndarray
    geometry: Geometry


def find_cases(folder: Path) -> dict[str, Path]:
    """Case id → file for every label map in a folder, sorted by id.

    The id is the file name without its suffix and without a final `_label` (the NeurIPS CellSeg naming).

    Raises:
        InputError: if the folder is absent or two files have one id.
    """
    if not folder.is_dir():
        raise InputError("There is no such folder", where=folder, remedy="check the path")
    cases: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), None)
        if suffix is None or path.name.startswith("."):
            continue
        case = path.name[: -len(suffix)].removesuffix("_label")
        if case in cases:
            raise InputError("Two files belong to one case", where=folder, found=f"{cases[case].name}, {path.name}")
        cases[case] = path
    return dict(sorted(cases.items()))


def read_geometry(path: Path) -> Geometry:
    """Shape, spacing and affine of a label map without reading its voxels; raises InputError if it is unreadable."""
    try:
        if path.name.lower().endswith(NIFTI):
            image = nib.load(path)
            shape = _without_trailing_ones(image.shape)
            if len(shape) not in (2, 3) or 0 in shape or image.get_data_dtype().kind not in "biuf":
                raise _not_a_label_map(path, found=f"{image.get_data_dtype()} of shape {image.shape}")
            zooms = tuple(float(zoom) for zoom in image.header.get_zooms()[: len(shape)])
            return Geometry(shape=shape, spacing=zooms, affine=np.asarray(image.affine, dtype=np.float64))
        if path.suffix.lower() == ".png":
            with Image.open(path) as image:
                shape = (image.height, image.width, *([len(image.getbands())] if len(image.getbands()) > 1 else []))
        else:
            with tifffile.TiffFile(path) as image:
                shape = image.series[0].shape
    except (OSError, ValueError, EOFError, nib.filebasedimages.ImageFileError, tifffile.TiffFileError) as error:
        raise _unreadable(path, error) from error
    if len(shape) != 2 or 0 in shape:
        raise InputError("A label image has one channel", where=path, expected="(height, width)", found=shape)
    return Geometry(shape=tuple(shape), spacing=(1.0, 1.0))


def read_labels(path: Path) -> LabelMap:
    """Read a label map.

    A NIfTI volume of a single slice is taken as an image. Integers stored as float are accepted.

    Raises:
        InputError: if the file is unreadable, has more than one channel, or holds anything but integers from 0 on.
    """
    geometry = read_geometry(path)
    try:
        if path.name.lower().endswith(NIFTI):
            array = np.asanyarray(nib.load(path).dataobj).reshape(geometry.shape)
        elif path.suffix.lower() == ".png":
            with Image.open(path) as image:
                array = np.asarray(image)
        else:
            array = tifffile.imread(path)
    except (OSError, ValueError, EOFError, tifffile.TiffFileError) as error:
        raise _unreadable(path, error) from error
    return LabelMap(array=_as_labels(array, path), geometry=geometry)


def resize_slices(labels: LabelMap, size: Sequence[int], axis: int) -> LabelMap:
    """A label map with its slices along `axis` (an image: itself) at another size, by scipy.ndimage.zoom of order 0 as
    the 2-D releases do. The unit is then the voxel."""
    shape = labels.array.shape
    inside = [side for other, side in enumerate(shape) if len(shape) == 2 or other != axis]
    factors = [new / old for new, old in zip(size, inside, strict=True)]
    if len(shape) == 3:
        factors.insert(axis, 1)
    array = np.ascontiguousarray(ndimage.zoom(labels.array, factors, order=0))
    return LabelMap(array, Geometry(array.shape, (1.0,) * array.ndim, None if array.ndim == 2 else np.eye(4)))


def turn_axes(labels: LabelMap, source: str, target: str) -> LabelMap:
    """A volume with its axes permuted and flipped from axis codes `source` to `target` (e.g. "LAS" to "RAS"); the unit
    is then the voxel."""
    change = orientations.ornt_transform(orientations.axcodes2ornt(source), orientations.axcodes2ornt(target))
    array = np.ascontiguousarray(orientations.apply_orientation(labels.array, change))
    return LabelMap(array, Geometry(array.shape, (1.0,) * array.ndim, np.eye(4)))


def _as_labels(array: np.ndarray, path: Path) -> np.ndarray:
    """The smallest unsigned type that holds the labels, C-contiguous."""
    smallest, largest = array.min(), array.max()
    whole = array.dtype.kind in "bui" or bool(np.all(np.isfinite(array)) and np.all(array == np.rint(array)))
    if not whole or smallest < 0 or largest > LARGEST_LABEL:
        raise InputError(
            f"A label map holds integers from 0 to {LARGEST_LABEL}",
            where=path,
            found=f"{array.dtype} values from {smallest} to {largest}",
            remedy="pass label maps, not probabilities or images; renumber larger values",
        )
    return np.ascontiguousarray(array, dtype=np.min_scalar_type(int(largest)))


def check_geometry(reference: Geometry, prediction: Geometry, *, where: Path) -> None:
    """Raise InputError unless the prediction lies on the reference's grid."""
    if reference.shape != prediction.shape:
        raise InputError(
            "The prediction has another shape than the reference",
            where=where,
            expected=reference.shape,
            found=prediction.shape,
            remedy="resample the prediction to the reference's grid (nearest neighbour)",
        )
    if reference.affine is None or prediction.affine is None:
        return
    difference = float(np.abs(reference.affine - prediction.affine).max())
    if difference > AFFINE_TOLERANCE:
        raise InputError(
            "The prediction has another affine (spacing, origin or orientation) than the reference",
            where=where,
            expected=reference.affine.round(4).tolist(),
            found=prediction.affine.round(4).tolist(),
            remedy="write predictions with the affine of the image they were made from",
        )


def write_labels(path: Path, array: np.ndarray, *, geometry: Geometry) -> None:
    """Write a label map in the format that the suffix of `path` names; the caller makes the path atomic."""
    if path.name.lower().endswith(NIFTI):
        nib.save(nib.Nifti1Image(array, geometry.affine), path)
    elif path.suffix.lower() == ".png":
        Image.fromarray(array).save(path)
    else:
        tifffile.imwrite(path, array)


def _without_trailing_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return tuple(int(length) for length in shape)


def _not_a_label_map(path: Path, *, found: str) -> InputError:
    return InputError(
        "This is not a label map",
        where=path,
        expected="whole numbers on two or three axes, one channel",
        found=found,
        remedy="pass label maps, not images or probabilities",
    )


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError("The label map cannot be read", where=path, found=f"{type(error).__name__}: {error}")
