"""Mean foreground Dice of whole validation cases, one window at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmark.data.geometry import slice_patch
from benchmark.data.sampling import fit_whole, merged, whole_box
from benchmark.data.store import PreparedStore
from benchmark.models.registry import full_resolution
from benchmark.settings import Training
from benchmark.training.processes import gather_objects


class Validator:
    """Dice on the prepared validation cases, for watching a training; it selects nothing.

    Windows of the patch's size tile the case without averaging (a window at the far border is moved inside and only
    its new voxels count), so that counts per class are all that is kept, whatever the number of classes. A case's
    value is the mean over classes present in reference or prediction (one present in only one of them counts 0), voxels
    that nobody labelled left out; the result is the mean over cases. Cases are shared among the processes. The tables'
    scores come from `predict` and `score`, with the protocol's own inference.

    A 2-D network goes through a volume slice by slice; whole images and slices are compared on the network's grid, to
    which the logits of a coarser output are enlarged.

    Args:
        store, cases: the prepared store and its validation cases.
        training: gives the patch, and whether images are resized whole.
        slice_axis: axis of volumes that a 2-D network is moved along.
    """

    def __init__(self, store: PreparedStore, cases: Sequence[str], training: Training, *, slice_axis: int = 2) -> None:
        self.store, self.cases, self.training, self.slice_axis = store, tuple(cases), training, slice_axis
        self.classes = training.classes(len(store.label_names))

    @torch.no_grad()
    def __call__(self, network: nn.Module, *, device: torch.device, rank: int = 0, world: int = 1) -> float:
        """Mean Dice over all cases; NaN where no case has a structure."""
        network.eval()
        mine = [self._case_dice(network, case, device) for case in self.cases[rank::world]]
        network.train()
        values = [value for part in gather_objects(mine) for value in part if not np.isnan(value)]
        return float(np.mean(values)) if values else float("nan")

    def _case_dice(self, network: nn.Module, case: str, device: torch.device) -> float:
        counts = np.zeros((self.classes, self.classes), dtype=np.int64)  # reference × prediction
        for image, labels, new in self._windows(case):
            logits = full_resolution(network(torch.from_numpy(image)[None].to(device)))
            if self.training.loss.coarse_output:
                logits = enlarged(logits, image.shape[1:])
            inside = tuple(slice(side) for side in labels.shape)
            predicted = logits[0].argmax(dim=0).cpu().numpy()[inside]
            labelled = labels[new] != self.store.ignore_label
            pairs = labels[new][labelled].astype(np.int64) * self.classes + predicted[new][labelled]
            counts += np.bincount(pairs.ravel(), minlength=self.classes**2).reshape(counts.shape)
        total = (counts.sum(axis=0) + counts.sum(axis=1))[1:]
        present = total > 0
        dice = 2 * counts.diagonal()[1:][present] / total[present]
        return float(dice.mean()) if dice.size else float("nan")

    def _windows(self, case: str) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[slice, ...]]]:
        """Image padded to the patch, its labels, and which of the labels' voxels no earlier window covered."""
        prepared, patch, axis = self.store.open(case), self.training.patch, self.slice_axis
        shape = prepared.labels.shape
        sliced = len(patch) == len(shape) - 1
        if self.training.sampling.strategy == "whole":
            window = tuple(1 if sliced and side == axis else size for side, size in enumerate(shape))
        else:
            window = slice_patch(patch, axis) if sliced else patch
        sides = [_tiles(size, length) for size, length in zip(shape, window, strict=True)]
        if self.training.sampling.margin is not None:
            starts, sizes = whole_box(prepared, self.training.sampling.margin)
            sides = [[(start, start + size, 0)] for start, size in zip(starts, sizes, strict=True)]
        for tiles in itertools.product(*sides):
            box = tuple(slice(start, stop) for start, stop, _ in tiles)
            image, labels = prepared.image[(slice(None), *box)], prepared.labels[box]
            new = [slice(first, None) for *_, first in tiles]
            if sliced:
                image, labels = image.squeeze(axis + 1), labels.squeeze(axis)
                del new[axis]
            labels = merged(labels) if self.training.sampling.structures == "merged" else labels
            if self.training.sampling.strategy == "whole":
                image, labels = fit_whole(image, labels, self.training)
            missing = [(0, side - inside) for side, inside in zip(patch, labels.shape, strict=True)]
            yield np.pad(image, [(0, 0), *missing]), labels, tuple(new)


def enlarged(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Logits [B, K, *spatial] at another size, linearly, with the centres of the corners kept."""
    return interpolate(logits, tuple(size), mode="bilinear" if len(size) == 2 else "trilinear", align_corners=True)


def _tiles(size: int, window: int) -> list[tuple[int, int, int]]:
    """(start, stop, first new voxel counted from start) of windows that cover one side."""
    starts = range(0, size, window)
    moved = [max(min(start, size - window), 0) for start in starts]
    return [(begin, min(begin + window, size), start - begin) for begin, start in zip(moved, starts, strict=True)]
