"""2-D networks on volumes, and networks that take a whole image at one fixed size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from benchmark.data.resizing import bring_into_range, labels_from_network, read_intensities, resize_channels
from benchmark.errors import InputError
from benchmark.inference.sliding_window import Network, best_class, logits_of
from benchmark.models.registry import full_resolution
from benchmark.progress import say
from benchmark.settings import Inference


def on_slices(network: Network, axis: int) -> Network:
    """A 2-D network as a 3-D one for windows of one slice: [B, C, *window] with a side of 1 along spatial `axis`.

    So slice-by-slice prediction is a sliding window whose patch has a 1 along that axis (`geometry.slice_patch`), and
    shares its blending, batching and memory bound.
    """

    def on_volume(patches: Tensor) -> Tensor:
        return full_resolution(network(patches.squeeze(axis + 2))).unsqueeze(axis + 2)

    return on_volume


def predict_whole(
    network: Network, image: Tensor, size: Sequence[int], settings: Inference, *, device: str | torch.device
) -> Tensor:
    """Label an image, or a volume slice by slice, at the network's own input size, and bring the labels back.

    Args:
        network: maps [B, channels, *size] to logits [B, classes, *size], or to a list with these first.
        image: float32 [channels, *spatial] with as many spatial axes as `size`, or one more.
        settings: `slice_axis` (not looked at where image and `size` have equal axes), `window_batch`, `slice_batches`,
            `slice_range`, `bits`, `resize` and `precision` are read.

    Returns:
        Labels [*spatial] on the CPU, int16.

    Raises:
        InputError: the axes do not fit, or the network gives NaN.
    """
    labels = predict_on_network_grid(network, image, size, settings, device=device).numpy()
    return torch.from_numpy(to_grid(labels, image.shape[1:], settings, sliced=labels.ndim > len(size)))


def to_grid(labels: np.ndarray, shape: Sequence[int], settings: Inference, *, sliced: bool) -> np.ndarray:
    """Labels on the network's grid, as `predict_on_network_grid` gives them, on the grid `shape` of the image.

    Args:
        sliced: whether the network saw slices along `settings.slice_axis`, each of which is brought back by itself.
    """
    if not sliced:
        return labels_from_network(labels, shape, settings.resize)
    axis = settings.slice_axis
    inside = [side for other, side in enumerate(shape) if other != axis]
    back = [labels_from_network(part, inside, settings.resize) for part in np.moveaxis(labels, axis, 0)]
    return np.ascontiguousarray(np.moveaxis(np.stack(back), 0, axis))


@torch.no_grad()
def predict_on_network_grid(
    network: Network, image: Tensor, size: Sequence[int], settings: Inference, *, device: str | torch.device
) -> Tensor:
    """As `predict_whole`, but the labels stay as large as the network sees the image: int16 [*size], and for a volume
    the number of its slices along `slice_axis`. Slices that no forward pass holds (`e_sam`) are background."""
    array, size, axis = image.cpu().numpy(), tuple(size), settings.slice_axis
    if array.ndim - 1 not in (len(size), len(size) + 1):
        raise InputError("image and input size do not fit", expected=f"{size} or slices of it", found=array.shape[1:])
    is_volume = array.ndim - 1 > len(size)
    slices = np.moveaxis(array, axis + 1, 0) if is_volume else array[None]  # [slices, C, *spatial]
    labels = torch.zeros((len(slices), *size), dtype=torch.int16)
    batches = slice_batches(len(slices), settings.window_batch, settings.slice_batches)
    lost = len(slices) - len({index for batch in batches for index in batch})
    if lost:
        say(f"{lost} of {len(slices)} slices stay background, as in E-SAM's release: fewer than a chunk of "
            f"{settings.window_batch}; `slice_batches: plain` predicts them")  # fmt: skip
    for batch in batches:
        resized = np.stack([fit_slice(slices[index], size, settings) for index in batch])
        scores = logits_of(network, torch.from_numpy(resized).to(device), settings.precision)
        for index, logits in zip(batch, scores, strict=True):
            labels[index] = best_class(logits.float()).to("cpu", torch.int16)
    return labels.movedim(0, axis).contiguous() if is_volume else labels[0]


def slice_batches(count: int, size: int, kind: str) -> list[range]:
    """Which of `count` slices each forward pass holds, for the kinds of `Inference.slice_batches`; one slice may be in
    two, and the later counts."""
    batches = [range(first, min(first + size, count)) for first in range(0, count, size)]
    start = count - size
    if kind == "plain" or count % size == 0:
        return batches
    if start < 0:  # it counts from the end of the volume
        start = max(count + start, 0)
    return [*batches[:-1], range(start, count)]


def fit_slice(image: np.ndarray, size: Sequence[int], settings: Inference) -> np.ndarray:
    """An image [C, *spatial] at the size that the network sees, with the range that it is given in."""
    image = read_intensities(image, settings)
    return bring_into_range(resize_channels(image, size, settings.resize), settings.slice_range)
