"""Networks that answer to points, on slices: one binary mask per point, pasted into a label map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from benchmark.data.prompts import Points
from benchmark.data.resizing import place_in_padding
from benchmark.errors import InputError
from benchmark.inference.slices import fit_slice
from benchmark.inference.sliding_window import autocast_for
from benchmark.settings import Inference

if TYPE_CHECKING:
    from benchmark.models.layers.sam.prompted import Embedding, Masks

QUERIES = 64  # points per pass of the mask decoder: bounds its memory where slices show many classes


@runtime_checkable
class Prompted(Protocol):
    """A network that answers to points (`layers.sam.prompted`), of so many `classes` without the background."""

    classes: int

    def encode(self, images: Tensor) -> Embedding:
        """[B, channels, H, W] to what `decode` takes."""

    def decode(self, embedding: Embedding, points: Tensor, labels: Tensor, image_index: Tensor) -> Masks:
        """The masks of N queries."""


@torch.no_grad()
def predict_prompted(
    network: Prompted,
    image: Tensor,
    points: Points,
    size: Sequence[int],
    settings: Inference,
    *,
    classes: int,
    device: str | torch.device,
) -> Tensor:
    """Label a volume slice by slice from one point of each class that a slice shows.

    A slice is encoded once, whatever the number of its points, and not at all without any: it stays background. Each
    point gives one mask, chosen as the network does (`Masks.best`); a pixel belongs to the mask of the highest logit
    above 0.

    Args:
        network: prompted (`layers.sam.prompted`), in evaluation mode.
        image: float32 [channels, *spatial], three spatial axes.
        points: slice → class → (x, y) in pixels of the slice as it is stored.
        size: that the network sees slices at.
        settings: `slice_axis`, `window_batch` (slices that are encoded together), `slice_range`, `bits`, `resize`,
            `enlarged` and `precision` are read.
        classes: largest class number.

    Returns:
        Labels on the CPU, int16: as large as the network sees the slices, times the number of slices; with `enlarged`
        logits as large as the volume.

    Raises:
        InputError: a point lies outside of the volume, or is of a class that there is not; the network gives NaN.
    """
    axis, size = settings.slice_axis, tuple(size)
    slices = np.moveaxis(image.cpu().numpy(), axis + 1, 0)
    _check(points, len(slices), slices.shape[2:], classes)
    shape, inside = size, None
    if settings.enlarged == "logits":
        shape, inside = slices.shape[2:], place_in_padding(slices.shape[2:], size, settings.resize)
    labels = torch.zeros((len(slices), *shape), dtype=torch.int16)
    asked = sorted(number for number, by_class in points.items() if by_class)
    for first in range(0, len(asked), settings.window_batch):
        batch = asked[first : first + settings.window_batch]
        images = torch.from_numpy(np.stack([fit_slice(slices[number], size, settings) for number in batch]))
        moved = [to_network(points[number], slices.shape[2:], size, settings) for number in batch]
        with autocast_for(device, settings.precision):
            pasted = _paste(network, images.to(device), moved, shape, inside, corners=settings.resize.keeps_corners)
        labels[batch] = pasted.to("cpu", torch.int16)
    return labels.movedim(0, axis).contiguous()


def _paste(
    network: Prompted,
    images: Tensor,
    points: Sequence[Mapping[int, tuple[float, float]]],
    shape: Sequence[int],
    inside: tuple[slice, ...] | None,
    *,
    corners: bool,
) -> Tensor:
    """Labels [B, *shape] of images [B, C, H, W] and, for each, class → (x, y).

    `inside`: where in the images that shape lies, if they are padded; `corners`: whether logits keep the centres of the
    corners on their way to `shape`, if they are resized.
    """
    embedding = network.encode(images)
    queries = [(index, value, place) for index, by_class in enumerate(points) for value, place in by_class.items()]
    highest = images.new_zeros((len(images), *shape), dtype=torch.float32)  # the background's logit is 0
    labels = torch.zeros_like(highest, dtype=torch.long)
    for start in range(0, len(queries), QUERIES):
        part = queries[start : start + QUERIES]
        places = torch.tensor([[place] for *_, place in part], dtype=torch.float32, device=images.device)
        index = torch.tensor([index for index, *_ in part], device=images.device)
        positive = torch.ones(len(part), 1, dtype=torch.long, device=images.device)
        logits = network.decode(embedding, places, positive, index).best().logits[:, 0].float()
        if not bool(torch.isfinite(logits).all()):
            raise InputError("the network gives NaN", remedy="look at the training log; try precision 32-true")
        if inside is not None:
            logits = logits[(slice(None), *inside)]
        elif logits.shape[1:] != highest.shape[1:]:
            logits = interpolate(logits[:, None], tuple(shape), mode="bilinear", align_corners=corners)[:, 0]
        for (image, value, _), mask in zip(part, logits, strict=True):
            wins = mask > highest[image]
            highest[image] = torch.where(wins, mask, highest[image])
            labels[image] = torch.where(wins, value, labels[image])
    return labels


def to_network(
    points: Mapping[int, tuple[int, int]], shape: Sequence[int], size: Sequence[int], settings: Inference
) -> dict[int, tuple[float, float]]:
    """Points of a slice of `shape` at the same places of the slice as the network sees it, by `settings.resize`: of a
    padded one the same pixels; of a resized one `zoom` keeps the centres of the corner pixels, the others the field of
    view."""
    place = place_in_padding(shape, size, settings.resize)
    if place is not None:
        rows, columns = place
        return {value: (x + columns.start, y + rows.start) for value, (x, y) in points.items()}

    def move(position: int, side: int, new: int) -> float:
        if settings.resize.keeps_corners:
            return position * (new - 1) / max(side - 1, 1)
        return (position + 0.5) * new / side - 0.5

    return {value: (move(x, shape[1], size[1]), move(y, shape[0], size[0])) for value, (x, y) in points.items()}


def _check(points: Points, slices: int, shape: Sequence[int], classes: int) -> None:
    for number, by_class in points.items():
        for value, (x, y) in by_class.items():
            if not 0 <= number < slices or not (0 <= x < shape[1] and 0 <= y < shape[0]):
                raise InputError(
                    "a point lies outside of the volume",
                    expected=f"slices 0 to {slices - 1}, x below {shape[1]}, y below {shape[0]}",
                    found=f"slice {number}, ({x}, {y})",
                    remedy="draw the points again: `retable prompts`",
                )
            if not 0 < value <= classes:
                raise InputError("a point of a class that there is not", expected=f"1 to {classes}", found=value)
