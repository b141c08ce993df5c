"""From the raw grid to the prepared grid and back: axes, voxel spacing, crop.

The way there is reorient → (crop to non-zero →) resample → crop; `restore_labels` undoes it for a label map. Resampling
keeps the edges of the field of view, as skimage and nnU-Net do: output voxel j of O samples the input of S voxels at
(j + 0.5) S/O - 0.5. Images are interpolated linearly along each axis, labels take the nearest voxel (exact integer
arithmetic, so that equal shapes are the identity). nnU-Net's splines are in `resampling`.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import Any, overload

import numpy as np
from nibabel import orientations

from benchmark.images.geometry import voxel_sides

SAME_SPACING = 1e-3  # relative difference below which a spacing is the target spacing (headers are float32)


def axis_codes(affine: np.ndarray) -> str:
    """E.g. "LAS": the direction each array axis grows in, the nearest anatomical one for oblique scans."""
    return "".join(orientations.aff2axcodes(affine))


@overload
def prepared_codes(codes: str, orientation: str) -> str: ...


@overload
def prepared_codes(codes: str, orientation: str | None) -> str | None: ...


def prepared_codes(codes: str, orientation: str | None) -> str | None:
    """Axis codes of the prepared array of a scan whose raw axes are `codes`.

    Args:
        orientation: axis codes; None keeps the raw axes; "axial" only moves the axes of a coronal or sagittal array, so
            that the last one runs along the body and slices are axial: R-L, A-P, S-I, each in its raw direction.
    """
    if orientation != "axial":
        return orientation
    if codes[-1] in "SI":
        return codes
    return "".join(next(code for code in codes if code in pair) for pair in ("RL", "AP", "SI"))


def reorient(array: np.ndarray, source: str, target: str) -> np.ndarray:
    """Permute and flip the axes of [*spatial] from axis codes `source` to `target`; a view, no copy."""
    change = orientations.ornt_transform(orientations.axcodes2ornt(source), orientations.axcodes2ornt(target))
    return orientations.apply_orientation(array, change)


def reordered(values: Sequence[float], source: str, target: str) -> tuple[float, ...]:
    """Per-axis values (spacing, extent) in array order `source`, put into array order `target`."""
    change = orientations.ornt_transform(orientations.axcodes2ornt(target), orientations.axcodes2ornt(source))
    return tuple(values[int(axis)] for axis in change[:, 0])


def upright(
    image: np.ndarray, labels: np.ndarray, affine: np.ndarray, orientation: str | None
) -> tuple[np.ndarray, np.ndarray, tuple[float, ...], dict[str, str | None]]:
    """Turn the axes of a case as `prepared_codes` says; volumes without orientation, and pictures, stay as they are.

    Args:
        image, labels, affine: [C, *spatial], [*spatial], raw voxel → RAS+ mm.

    Returns:
        image and labels as views, spacing in mm, and the axis codes before and after (None: not turned).
    """
    spacing = voxel_sides(affine)[: labels.ndim]
    if orientation is None or labels.ndim == 2:
        return image, labels, spacing, {"raw": None, "prepared": None}
    raw = axis_codes(affine)
    codes = prepared_codes(raw, orientation)
    turned = np.moveaxis(reorient(np.moveaxis(image, 0, -1), raw, codes), -1, 0)
    return turned, reorient(labels, raw, codes), reordered(spacing, raw, codes), {"raw": raw, "prepared": codes}


def slice_patch(patch: Sequence[int], axis: int) -> tuple[int, ...]:
    """The 2-D window size `patch` as that of a volume whose slices are taken along `axis`."""
    return *patch[:axis], 1, *patch[axis:]


def resampled_shape(shape: Sequence[int], spacing: Sequence[float], target: Sequence[float] | None) -> tuple[int, ...]:
    """Voxels at the target spacing, rounded to the nearest whole number; axes already at it keep theirs."""
    if target is None:
        return tuple(shape)
    return tuple(
        side if abs(have - want) <= SAME_SPACING * want else max(1, round(side * have / want))
        for side, have, want in zip(shape, spacing, target, strict=True)
    )


def resize_linear(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Linear interpolation of [*spatial] to `shape` as float32, edge voxels continued outwards; `array` itself where it
    has that shape already."""
    result = array
    for axis, size in enumerate(shape):
        side = result.shape[axis]
        if side == size:
            continue
        result = result.astype(np.float32, copy=False)
        position = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
        low = np.minimum(np.floor(position).astype(np.int64), max(side - 2, 0))
        weight = (position - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(array.ndim)])
        upper = result.take(np.minimum(low + 1, side - 1), axis=axis)
        result = result.take(low, axis=axis)
        result += weight * (upper - result)
    return result


def resize_nearest(labels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Nearest-voxel resampling of a label map [*spatial] to `shape`."""
    for axis, size in enumerate(shape):
        side = labels.shape[axis]
        if side != size:
            labels = labels.take((2 * np.arange(size) + 1) * side // (2 * size), axis=axis)
    return labels


def resize_floor(labels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resampling of a label map [*spatial] to `shape` that takes voxel floor(j S/O), as torch's mode `nearest` does."""
    for axis, size in enumerate(shape):
        side = labels.shape[axis]
        if side != size:
            # in float32, to agree with torch to the voxel
            position = np.arange(size, dtype=np.float32) * np.float32(side / size)
            labels = labels.take(np.minimum(position.astype(np.int64), side - 1), axis=axis)
    return labels


def foreground_box(
    image: np.ndarray, above: float | None, multiple_of: Sequence[int] | None = None
) -> tuple[list[int], list[int]]:
    """The box [start, stop) of voxels of [C, *spatial] above a value in any channel.

    Args:
        image: normalised image.
        above: None, or no voxel above it: the whole volume.
        multiple_of: enlarge each side to a multiple of these, half of the excess (rounded down) before the start; the
            box may then reach outside the volume (MONAI CropForeground with k_divisible).
    """
    start, stop = [0] * (image.ndim - 1), list(image.shape[1:])
    if above is not None:
        inside = np.any(image > above, axis=0)
        for axis in range(inside.ndim):
            others = tuple(a for a in range(inside.ndim) if a != axis)
            rows = np.flatnonzero(inside.any(axis=others))
            if len(rows):
                start[axis], stop[axis] = int(rows[0]), int(rows[-1]) + 1
    if multiple_of is not None:
        for axis, multiple in enumerate(multiple_of):
            excess = -(stop[axis] - start[axis]) % multiple
            start[axis] -= excess // 2
            stop[axis] += excess - excess // 2
    return start, stop


def crop(array: np.ndarray, start: Sequence[int], stop: Sequence[int]) -> np.ndarray:
    """The box [start, stop) of the last axes of `array`, zero where it reaches outside; a view where it does not."""
    leading = array.ndim - len(start)
    sides = array.shape[leading:]
    inside = tuple(slice(max(a, 0), min(b, side)) for a, b, side in zip(start, stop, sides, strict=True))
    padding = [(max(-a, 0), max(b - side, 0)) for a, b, side in zip(start, stop, sides, strict=True)]
    place: tuple[slice | EllipsisType, ...] = (..., *inside)
    part = array[place]
    return part if not np.any(padding) else np.pad(part, [(0, 0)] * leading + padding)


def uncrop(array: np.ndarray, start: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Inverse of `crop`: put [*box] back into zeros of `shape`."""
    whole = np.zeros(tuple(shape), array.dtype)
    target = tuple(slice(max(a, 0), min(a + n, side)) for a, n, side in zip(start, array.shape, shape, strict=True))
    source = tuple(slice(part.start - a, part.stop - a) for part, a in zip(target, start, strict=True))
    whole[target] = array[source]
    return whole


def restore_labels(prediction: np.ndarray, meta: dict[str, Any]) -> np.ndarray:
    """A label map on the prepared grid, brought back to the raw grid of its case.

    Args:
        prediction: [*prepared spatial] integers.
        meta: the case's json (`PreparedCase.meta`).

    Returns:
        [*raw spatial], same type; background outside the prepared box. Without resampling it is exact inside it.

    Raises:
        ValueError: the prediction does not have the prepared shape.
    """
    if list(prediction.shape) != list(meta["shape"]):
        raise ValueError(f"{meta['case']}: prepared shape is {meta['shape']}, the prediction is {prediction.shape}")
    whole = uncrop(prediction, meta["crop"]["start"], meta["resampled_shape"])
    nonzero = meta.get("nonzero", {"start": [0] * whole.ndim, "stop": meta["reoriented_shape"]})
    whole = resize_nearest(whole, [stop - start for start, stop in zip(*nonzero.values(), strict=True)])
    return from_upright(uncrop(whole, nonzero["start"], meta["reoriented_shape"]), meta)


def from_upright(labels: np.ndarray, meta: dict[str, Any]) -> np.ndarray:
    """A label map on the whole reoriented grid, with the axes of the raw one."""
    source, target = meta["orientation"]["raw"], meta["orientation"]["prepared"]
    return np.ascontiguousarray(reorient(labels, target, source) if source else labels)
