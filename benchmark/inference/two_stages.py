"""The first of two stages, which finds the box that the second one labels, and labels from enlarged scores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import cc3d
import numpy as np
import torch
from torch import Tensor, nn

from benchmark.data.geometry import resize_linear
from benchmark.data.resizing import place_in_padding, zoom
from benchmark.data.sampling import enlarged_box
from benchmark.errors import InputError
from benchmark.inference.slices import fit_slice
from benchmark.inference.sliding_window import Network, best_class, logits_of
from benchmark.settings import Inference

Box = tuple[list[int], list[int]]


@torch.no_grad()
def find_box(
    network: nn.Module, image: Tensor, spacing: Sequence[float], settings: Inference, *, device: str | torch.device
) -> Box:
    """Where the second stage looks: the largest connected part that the first one labels, with a margin.

    Args:
        network: has a `first_stage`, which maps [B, channels, *patch] to logits of background and foreground.
        image: float32 [channels, *spatial], the whole volume.
        spacing: mm per axis.
        settings: `first_stage`, `resize`, `slice_range`, `bits` and `precision` are read. Voxels that share a corner
            are connected; of parts of one size the first counts.

    Returns:
        start and stop of the box in voxels of `image`: the whole volume where nothing is found.

    Raises:
        InputError: the network has no first stage, or it gives NaN.
    """
    stage, shape = settings.first_stage, list(image.shape[1:])
    coarse = getattr(network, "first_stage", None)
    if stage is None or not isinstance(coarse, nn.Module):
        raise InputError(
            "the network has no first stage",
            expected="a network such as phtrans with the option first_stage",
            remedy="set inference.first_stage to null, or choose that option",
        )
    small = fit_slice(image.cpu().numpy(), stage.patch, settings)
    scores = logits_of(coarse, torch.from_numpy(small)[None].to(device), settings.precision)[0]
    found = best_class(scores.float()).cpu().numpy()
    parts = cc3d.connected_components((found > 0).astype(np.uint8), connectivity=26)
    sizes = np.bincount(parts.ravel())[1:]
    if not sizes.size:
        return [0, 0, 0], shape
    start, stop = [], []
    for rows, side, size in zip(np.nonzero(parts == sizes.argmax() + 1), shape, stage.patch, strict=True):
        start.append(int(np.floor(rows.min() * side / size)))  # edges of the coarse voxels, in fine ones
        stop.append(int(np.ceil((rows.max() + 1) * side / size)))
    return enlarged_box(start, stop, spacing, stage.margin, shape)


@torch.no_grad()
def predict_enlarged(
    network: Network, image: Tensor, size: Sequence[int], settings: Inference, *, device: str | torch.device
) -> Tensor:
    """Label a volume at the network's own size; the scores of its classes come back, and the highest is taken.

    Args:
        network: maps [1, channels, *size] to logits [1, classes, *coarser or equal], or to a list with these first.
        image: float32 [channels, *spatial] with as many spatial axes as `size`.
        settings: `enlarged`, `resize`, `slice_range`, `bits` and `precision` are read.

    Returns:
        Labels [*spatial] on the CPU, int16; of equal scores the first class counts.

    Raises:
        InputError: the axes do not fit, or the network gives NaN.
    """
    shape = tuple(image.shape[1:])
    if len(shape) != len(size):
        raise InputError("image and input size do not fit", expected=f"{len(size)} axes", found=shape)
    small = torch.from_numpy(fit_slice(image.cpu().numpy(), size, settings))[None]
    scores = logits_of(network, small.to(device), settings.precision)[0].float()
    best_class(scores)  # refuses NaN
    scores = scores.softmax(dim=0) if settings.enlarged == "probabilities" else scores
    enlarge = partial(zoom, order=1) if settings.resize.keeps_corners else resize_linear
    place = place_in_padding(shape, size, settings.resize)
    highest, labels = np.full(shape, -np.inf, np.float32), np.zeros(shape, np.int16)
    for number, channel in enumerate(scores.cpu().numpy()):  # one class at a time: all of a CT are several GB
        whole = enlarge(channel, shape) if place is None else enlarge(channel, size)[place]
        wins = whole > highest
        labels[wins], highest[wins] = number, whole[wins]
    return torch.from_numpy(labels)
