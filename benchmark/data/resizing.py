"""Whole images and label maps at another size, by the grid conventions of the releases.

`linear`, `nearest` and `floor` are torch.nn.functional.interpolate's bilinear (align_corners false, no antialiasing),
nearest-exact and nearest (OpenCV's INTER_NEAREST); `cubic` is skimage.transform.resize of order 3; `zoom<order>` is
scipy.ndimage.zoom, whose corner pixels keep their centres.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
from scipy import ndimage

from benchmark.data.geometry import resize_floor, resize_linear, resize_nearest
from benchmark.data.resampling import resample_image
from benchmark.errors import InputError
from benchmark.settings import Inference, Resize, Sampling, SliceRange

Resizer = Callable[[np.ndarray, Sequence[int]], np.ndarray]


def zoom(array: np.ndarray, shape: Sequence[int], *, order: int) -> np.ndarray:
    """Spline interpolation of [*spatial] to `shape`, same type; `array` itself where it has that shape already."""
    if array.shape == tuple(shape):
        return array
    factors = [size / side for size, side in zip(shape, array.shape, strict=True)]
    return ndimage.zoom(array, factors, order=order)


@lru_cache(maxsize=64)
def zoomed_positions(side: int, size: int) -> np.ndarray:
    """1-based voxel that scipy.ndimage.zoom of order 0 takes for each of `size` voxels, and 0 where it takes none: its
    fill value, 0, stands where rounding takes the last position over the border (16 → 59, 30 → 8)."""
    return ndimage.zoom(np.arange(1, side + 1), size / side, order=0)


def zoom_nearest(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """`zoom` of order 0, without its arithmetic per voxel."""
    for axis, size in enumerate(shape):
        if array.shape[axis] != size:
            positions = zoomed_positions(array.shape[axis], size)
            array = array.take(np.maximum(positions - 1, 0), axis=axis)
            array[(slice(None),) * axis + (positions == 0,)] = 0
    return array


IMAGES: dict[str, Resizer] = {
    "linear": resize_linear,
    "floor": resize_floor,
    "cubic": partial(resample_image, order=3),
    "zoom0": zoom_nearest,
    **{f"zoom{order}": partial(zoom, order=order) for order in (1, 3)},
}
LABELS: dict[str, Resizer] = {"nearest": resize_nearest, "floor": resize_floor, "zoom0": zoom_nearest}


def place_in_padding(shape: Sequence[int], size: Sequence[int], resize: Resize) -> tuple[slice, ...] | None:
    """Where an image of `shape` lies at the network's `size` if it is padded; None where it is resized: there is no
    padding, or a side is not smaller than the network's. (SAM-Med2D @bfd2b93, train_transforms)"""
    if resize.padding is None or any(side >= large for side, large in zip(shape, size, strict=True)):
        return None
    before = [(large - side) // 2 for side, large in zip(shape, size, strict=True)]
    return tuple(slice(start, start + side) for start, side in zip(before, shape, strict=True))


def resize_channels(image: np.ndarray, size: Sequence[int], resize: Resize) -> np.ndarray:
    """An image [C, *spatial] at the network's size: float32 [C, *size]. With a padding of several values, a grey image
    has as many channels then, padded or not.

    Raises:
        InputError: an image of several channels has another number of them than the padding has values.
    """
    if resize.padding is not None:
        image = _channels_of_padding(image, resize.padding)
        place = place_in_padding(image.shape[1:], size, resize)
        if place is not None:
            padded = np.empty((len(image), *size), np.float32)
            padded.T[...] = resize.padding  # the channels are the last axis of the transpose
            padded[(slice(None), *place)] = image
            return padded
    for step in (resize.through, tuple(size)):
        if step is not None:
            image = np.stack([IMAGES[resize.image](channel, step) for channel in image])
    return image.astype(np.float32, copy=False)


def _channels_of_padding(image: np.ndarray, padding: Sequence[float]) -> np.ndarray:
    if len(padding) in (1, len(image)):
        return image
    if len(image) > 1:
        raise InputError(
            "resize.padding does not fit the channels", expected=f"1 or {len(image)} values", found=list(padding)
        )
    return image.repeat(len(padding), axis=0)


def resize_labels(labels: np.ndarray, size: Sequence[int], resize: Resize) -> np.ndarray:
    """A label map [*spatial] at another size, same type. Towards a stored grid there is no size in between."""
    return LABELS[resize.labels](labels, tuple(size))


def labels_to_network(labels: np.ndarray, size: Sequence[int], resize: Resize) -> np.ndarray:
    """A label map [*spatial] at the network's size, same type: background around it where its image is padded."""
    place = place_in_padding(labels.shape, size, resize)
    if place is None:
        return resize_labels(labels, size, resize)
    padded = np.zeros(tuple(size), labels.dtype)
    padded[place] = labels
    return padded


def labels_from_network(labels: np.ndarray, shape: Sequence[int], resize: Resize) -> np.ndarray:
    """A label map [*size] of the network on the grid `shape` of its image, same type: cut out where that was padded."""
    place = place_in_padding(shape, labels.shape, resize)
    return resize_labels(labels, shape, resize) if place is None else labels[place]


def read_intensities(image: np.ndarray, how: Sampling | Inference) -> np.ndarray:
    """Stored intensities [C, *spatial] as an image is made of them: its own range, and the values of a picture."""
    if how.slice_range == "unit":
        image = rescale_to_unit(image)
    return image if how.bits is None else round_to_bits(image, how.bits)


def round_to_bits(image: np.ndarray, bits: int) -> np.ndarray:
    """float32, same shape: the nearest of 2^bits values from 0 to 1, the even one of two that are equally near; below 0
    and above 1 the last ones."""
    highest = np.float32(2**bits - 1)
    return np.rint(np.clip(image, 0, 1) * highest).astype(np.float32, copy=False) / highest


def rescale_to_unit(image: np.ndarray) -> np.ndarray:
    """float32 [C, *spatial] with each channel's own minimum at 0 and maximum at 1; a constant channel becomes 0."""
    axes = tuple(range(1, image.ndim))
    low, high = image.min(axis=axes, keepdims=True), image.max(axis=axes, keepdims=True)
    return ((image - low) / np.where(high > low, high - low, 1)).astype(np.float32, copy=False)


def standardise(image: np.ndarray) -> np.ndarray:
    """float32 [C, *spatial] with each channel's own mean at 0 and deviation 1; a constant channel becomes 0."""
    axes = tuple(range(1, image.ndim))
    mean, deviation = image.mean(axes, np.float64, keepdims=True), image.std(axes, np.float64, keepdims=True)
    return ((image - mean) / np.where(deviation > 0, deviation, 1)).astype(np.float32, copy=False)


def standardise_positive(image: np.ndarray, generator: np.random.Generator | None = None) -> np.ndarray:
    """float32 [C, *spatial], each channel less the mean of its voxels above 0 and over their deviation; what is 0 is
    noise of the standard normal distribution then. After MedicalNet, around whose brains all is 0.

    A channel without voxels above 0 keeps its other values, one without deviation is centred alone.

    Args:
        generator: of the noise; None: the same noise each time, so that an image is always predicted alike.
    """
    generator = np.random.default_rng(0) if generator is None else generator
    result = np.empty(image.shape, np.float32)
    for channel, standardised in zip(image, result, strict=True):
        positive = channel[channel > 0].astype(np.float64)
        mean, deviation = (positive.mean(), positive.std()) if positive.size else (0.0, 1.0)
        standardised[...] = (channel - mean) / (deviation or 1.0)
        empty = channel == 0
        standardised[empty] = generator.standard_normal(np.count_nonzero(empty))
    return result


def bring_into_range(
    image: np.ndarray, slice_range: SliceRange, generator: np.random.Generator | None = None
) -> np.ndarray:
    """An image [C, *spatial] of the network's size, standardised where its range asks for it there.

    Args:
        generator: as in `standardise_positive`.
    """
    if slice_range == "zscore":
        return standardise(image)
    return standardise_positive(image, generator) if slice_range == "zscore_positive" else image
