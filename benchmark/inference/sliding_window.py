"""Sliding-window prediction in bounded memory, with labels bit-identical to MONAI's `SlidingWindowInferer`.

MONAI keeps the class scores of the whole volume until the last window is done: 118 classes on [300, 300, 422] are an
array of 18 GB. Here the borders of all windows cut the volume into compartments (`compartments.py`). The scores of a
compartment are allocated when the first window reaches it, and averaged, reduced to labels and freed when the last one
has. Windows come in MONAI's order and each voxel sums the same float32 products in that order, so that not one label
differs.

Bound: the first axis is the outermost loop, so between two rows of windows only their overlap is alive, and within a
row one window's extent more along the second axis: about overlap · patch[0] · (H + patch[1]) · W voxels of the
D · H · W, less or more where the last row of windows is pushed back by the border. `peak_voxels` is the exact number.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import InputError
from benchmark.inference.compartments import Compartments, Slices, shifted
from benchmark.models.registry import full_resolution

Network = Callable[[Tensor], Tensor | list[Tensor] | tuple[Tensor, ...]]
LEAST_WEIGHT = 1e-3  # MONAI: no voxel may come from windows of weight nought
_AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


@dataclass(frozen=True)
class Window:
    """How windows are laid over an image and blended.

    Attributes:
        patch: window size in voxels, one number per spatial axis.
        overlap: share of the window that neighbours have in common, in [0, 1).
        weighting: "gaussian" (the centre of a window counts most) or "constant".
        sigma_scale: sigma of the Gaussian as a share of the window's side.
        batch: windows per forward pass.
    """

    patch: tuple[int, ...]
    overlap: float = 0.5
    weighting: Literal["gaussian", "constant"] = "gaussian"
    sigma_scale: float = 0.125
    batch: int = 1

    def positions(self, shape: Sequence[int]) -> list[Slices]:
        """All windows on an image at least as large as the patch, first axis outermost (MONAI's order)."""
        sides = []
        for size, side in zip(shape, self.patch, strict=True):
            interval = max(int(side * (1 - self.overlap)), 1)
            starts = range(0, max(size - side, 0) + interval, interval)  # the last one is pushed back by the border
            sides.append([slice(start, start + side) for start in (min(start, size - side) for start in starts)])
        return list(itertools.product(*sides))

    def weights(self, device: torch.device) -> Tensor:
        """Importance of each voxel of a window, float32 [1, *patch], with MONAI's lower bound (and its rounding)."""
        if self.weighting == "constant":
            return torch.ones((1, *self.patch), device=device)
        weight = torch.ones((), device=device)
        for side in self.patch:
            offset = torch.arange(-(side - 1) / 2, (side - 1) / 2 + 1, dtype=torch.float32, device=device)
            weight = weight[..., None] * torch.exp(offset**2 / (-2 * (side * self.sigma_scale) ** 2))
        return weight.clamp(min=max(float(weight.min()), LEAST_WEIGHT))[None]


def predict_labels(
    network: Network, image: Tensor, window: Window, *, device: str | torch.device, precision: str = "32-true"
) -> Tensor:
    """Label an image: argmax over classes of the blended logits.

    Args:
        network: maps [B, channels, *patch] to logits [B, classes, *patch], or to a list with these first.
        image: float32 [channels, *spatial], any number of spatial axes, on any device. Where it is smaller than the
            window it is padded with zeros on both sides, and the labels are cut back.
        window: layout of the windows.
        device: where the network is; compartments are kept there too.
        precision: "32-true", "16-mixed" or "bf16-mixed" (autocast around the network; blending stays float32).

    Returns:
        Labels [*spatial] on the CPU, uint8 up to 256 classes, else int16.

    Raises:
        InputError: the window has another number of axes than the image, or the network gives NaN.
    """
    labels = None
    for where, scores in iterate_scores(network, image, window, device=device, precision=precision):
        if labels is None:
            labels = torch.empty(image.shape[1:], dtype=torch.uint8 if len(scores) <= 256 else torch.int16)
        labels[where] = best_class(scores).to("cpu", labels.dtype)
    assert labels is not None  # every image has a window
    return labels


def predict_scores(
    network: Network, image: Tensor, window: Window, *, device: str | torch.device, precision: str = "32-true"
) -> Tensor:
    """The blended scores themselves, float32 [classes, *spatial] on the CPU: the whole array that `predict_labels`
    avoids. Arguments and errors as there."""
    whole = None
    for where, scores in iterate_scores(network, image, window, device=device, precision=precision):
        if whole is None:
            whole = torch.empty((len(scores), *image.shape[1:]))
        if scores.isnan().any():
            raise _not_a_number()
        whole[(slice(None), *where)] = scores.cpu()
    assert whole is not None  # every image has a window
    return whole


def best_class(scores: Tensor) -> Tensor:
    """Index of the highest of the scores [classes, *spatial], the first of equal ones.

    Raises:
        InputError: there are NaN among the scores (an argmax would hide them).
    """
    best, index = scores.max(dim=0)
    if best.isnan().any():
        raise _not_a_number()
    return index


def _not_a_number() -> InputError:
    return InputError("the network gives NaN", remedy="look at the training log; try precision 32-true")


@torch.no_grad()
def iterate_scores(
    network: Network, image: Tensor, window: Window, *, device: str | torch.device, precision: str = "32-true"
) -> Iterator[tuple[Slices, Tensor]]:
    """Blended scores of one finished box after the other: (where it is in `image`, float32 [classes, *box]).

    The boxes tile the image; each comes as soon as no later window touches it, and is the caller's to keep or change.
    Arguments and errors as in `predict_labels`.
    """
    device, spatial = torch.device(device), image.shape[1:]
    if len(window.patch) != len(spatial):
        raise InputError(
            f"the window has {len(window.patch)} axes, the image {len(spatial)}",
            expected=f"a patch for an image of shape {tuple(spatial)}",
            found=window.patch,
        )
    image, before = _pad_to(image, window.patch)
    weight, positions = window.weights(device), window.positions(image.shape[1:])
    compartments = Compartments(positions)
    for first in range(0, len(positions), window.batch):
        batch = positions[first : first + window.batch]
        patches = torch.stack([image[(slice(None), *position)] for position in batch])
        for position, logits in zip(batch, logits_of(network, patches.to(device), precision), strict=True):
            weighted = logits.float().mul_(weight)  # in place in float32: the logits are needed no more
            for compartment in compartments.touched_by(position):
                inside = compartment.inside(position)
                compartment.add(weighted[inside], weight[inside])
                if not compartment.windows_left:
                    where = _without_padding(compartment.where, before, spatial)
                    if where is not None:
                        local = shifted(where, [-side.start for side in compartment.where])
                        yield shifted(where, [-by for by in before]), compartment.take_mean()[(slice(None), *local)]


def logits_of(network: Network, patches: Tensor, precision: str) -> Tensor:
    """Full-resolution logits [B, classes, *patch] of one forward pass, autocast for the mixed precisions."""
    with autocast_for(patches.device, precision):
        return full_resolution(network(patches))


def autocast_for(device: str | torch.device, precision: str) -> AbstractContextManager[object]:
    """Autocast for the mixed precisions, nothing for full precision."""
    dtype = _AUTOCAST.get(precision)
    return torch.autocast(torch.device(device).type, dtype) if dtype else nullcontext()


def mirrored(network: Network) -> Network:
    """The network averaged over all mirror images of its input: mean of the logits, as in nnU-Net."""

    def average(patches: Tensor) -> Tensor:
        axes = range(2, patches.dim())
        subsets = [axis for size in range(len(axes) + 1) for axis in itertools.combinations(axes, size)]
        total = full_resolution(network(patches))
        for flipped in subsets[1:]:
            total = total + full_resolution(network(patches.flip(flipped))).flip(flipped)
        return total / len(subsets)

    return average


def peak_voxels(shape: Sequence[int], window: Window) -> int:
    """The largest number of voxels whose scores are in memory at once; times classes + 1, times 4 bytes.

    The logits of one batch of windows come on top.
    """
    padded = [max(side, patch) for side, patch in zip(shape, window.patch, strict=True)]
    positions = window.positions(padded)
    compartments, peak = Compartments(positions), 0
    for position in positions:
        for compartment in compartments.touched_by(position):
            compartment.windows_left -= 1
            if not compartment.windows_left:
                peak = max(peak, compartments.voxels_alive)
        peak = max(peak, compartments.voxels_alive)
    return peak


def _pad_to(image: Tensor, patch: Sequence[int]) -> tuple[Tensor, list[int]]:
    """Zeros on both sides up to the patch (the odd one behind); also returns how many came in front, per axis."""
    missing = [max(patch_side - side, 0) for patch_side, side in zip(patch, image.shape[1:], strict=True)]
    before = [count // 2 for count in missing]
    padding = [(front, count - front) for front, count in zip(before, missing, strict=True)]
    if any(missing):
        image = F.pad(image, list(itertools.chain.from_iterable(reversed(padding))))
    return image, before


def _without_padding(where: Slices, before: Sequence[int], spatial: Sequence[int]) -> Slices | None:
    """The part of a box that is image and not padding, in padded coordinates; None where there is none."""
    kept = tuple(
        slice(max(side.start, front), min(side.stop, front + length))
        for side, front, length in zip(where, before, spatial, strict=True)
    )
    return kept if all(side.start < side.stop for side in kept) else None
