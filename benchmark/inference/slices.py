"""2-D networks on volumes, and networks that take a whole image at one fixed size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from benchmark.data.geometry import resize_linear, resize_nearest
from benchmark.errors import InputError
from benchmark.inference.sliding_window import Network, best_class, logits_of
from benchmark.models.registry import full_resolution


def on_slices(network: Network, axis: int) -> Network:
    """A 2-D network as a 3-D one for windows of one slice: [B, C, *window] with a side of 1 along spatial `axis`.

    So slice-by-slice prediction is a sliding window whose patch has a 1 along that axis (`geometry.slice_patch`), and
    shares its blending, batching and memory bound.
    """

    def on_volume(patches: Tensor) -> Tensor:
        return full_resolution(network(patches.squeeze(axis + 2))).unsqueeze(axis + 2)

    return on_volume


@torch.no_grad()
def predict_whole(
    network: Network,
    image: Tensor,
    size: Sequence[int],
    *,
    axis: int,
    batch: int = 1,
    device: str | torch.device,
    precision: str = "32-true",
) -> Tensor:
    """Label an image, or a volume slice by slice, at the network's own input size.

    The image is resized linearly (half-pixel centres, as in training), the labels come back by nearest neighbour.

    Args:
        network: maps [B, channels, *size] to logits [B, classes, *size], or to a list with these first.
        image: float32 [channels, *spatial] with as many spatial axes as `size`, or one more.
        axis: spatial axis along which a volume is cut into slices; not used where image and `size` have equal axes.
        batch: slices per forward pass.

    Returns:
        Labels [*spatial] on the CPU, int16.

    Raises:
        InputError: the axes do not fit, or the network gives NaN.
    """
    array, size = image.cpu().numpy(), tuple(size)
    if array.ndim - 1 not in (len(size), len(size) + 1):
        raise InputError("image and input size do not fit", expected=f"{size} or slices of it", found=array.shape[1:])
    is_volume = array.ndim - 1 > len(size)
    slices = np.moveaxis(array, axis + 1, 0) if is_volume else array[None]  # [slices, C, *spatial]
    labels = np.empty((len(slices), *slices.shape[2:]), np.int16)
    for first in range(0, len(slices), batch):
        part = slices[first : first + batch]
        resized = np.stack([[resize_linear(channel, size) for channel in image_] for image_ in part])
        for number, logits in enumerate(logits_of(network, torch.from_numpy(resized).to(device), precision), first):
            classes = best_class(logits.float()).to("cpu", torch.int16).numpy()
            labels[number] = resize_nearest(classes, slices.shape[2:])
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(labels, 0, axis)) if is_volume else labels[0])
