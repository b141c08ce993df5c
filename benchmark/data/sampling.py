"""Training samples as a pure function of (seed, i): which case, which patch, which augmentation.

Sample i belongs to pass i // n over the n cases; each pass visits every case once, in an order drawn from the seed and
the pass. So the position of a training is one integer, and any number of workers and ranks sees one global order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from benchmark.data.augmentation import build_steps
from benchmark.data.geometry import resize_linear, resize_nearest, slice_patch
from benchmark.data.store import PreparedStore
from benchmark.data.views import CaseView
from benchmark.errors import InputError
from benchmark.settings import Training

ORDER_STREAM, SAMPLE_STREAM = 0, 1  # keep the draws of pass k and of sample k apart

Sides = Sequence[int]
Strategy = Callable[[CaseView, Sides, Sides, float, np.random.Generator], list[int]]


def foreground_voxel(
    view: CaseView, patch: Sides, read: Sides, fraction: float, generator: np.random.Generator
) -> list[int]:
    """MONAI RandCropByPosNegLabel: with probability `fraction` centred on a uniform foreground voxel, else on a uniform
    background voxel, then moved so that the patch lies inside the volume.

    Where a case has only foreground or only (eligible) background, that is taken; where it has neither, the centre.
    A side of the patch longer than the volume is centred on it.
    """
    foreground = [number for number in view.classes if number > 0]
    groups = [foreground, [0]] if generator.random() < fraction else [[0], foreground]
    voxel = view.draw_voxel(groups[0], generator)
    if voxel is None:
        voxel = view.draw_voxel(groups[1], generator)
    if voxel is None:
        voxel = np.array(view.shape) // 2
    start = []
    for position, size, side, large in zip(voxel, patch, view.shape, read, strict=True):
        inside = min(max(int(position) - size // 2, 0), side - size) if size <= side else -((size - side) // 2)
        start.append(inside - (large - size) // 2)
    return start


def foreground_class(
    view: CaseView, patch: Sides, read: Sides, fraction: float, generator: np.random.Generator
) -> list[int]:
    """nnU-Net: with probability `fraction` centred on a voxel of a class drawn uniformly among those present (it may
    reach over the far border), else anywhere inside; a patch larger than the volume is padded on both sides.

    nnU-Net fixes which samples of a batch are foreground; here each is drawn, as its option `probabilistic
    oversampling` does, because a sample must not depend on its batch. (nnunetv2 DataLoader.get_bbox)
    """
    shortage = [max(large - size, large - side) for size, side, large in zip(patch, view.shape, read, strict=True)]
    lowest = [-missing // 2 for missing in shortage]
    highest = [
        side + missing // 2 + missing % 2 - large
        for side, missing, large in zip(view.shape, shortage, read, strict=True)
    ]
    foreground = [number for number in view.classes if number > 0]
    if generator.random() < fraction and foreground:
        voxel = view.draw_voxel([int(generator.choice(foreground))], generator)
        if voxel is not None:
            centred = [int(position) - large // 2 for position, large in zip(voxel, read, strict=True)]
            return [max(low, begin) for low, begin in zip(lowest, centred, strict=True)]
    return [int(generator.integers(low, high + 1)) for low, high in zip(lowest, highest, strict=True)]


STRATEGIES: dict[str, Strategy] = {"foreground_voxel": foreground_voxel, "foreground_class": foreground_class}


class PatchDataset(Dataset):
    """Map-style data set over a whole training: `dataset[i]` for i in [0, total steps × batch).

    Args:
        store: a prepared store.
        cases: the training cases, all of them in the store.
        training: patch, sampling and augmentation are read from it.
        seed: decides every draw, together with i.
        slice_axis: axis of volumes that slices are taken along where the patch is 2-D; a slice is chosen as a patch
            of one voxel's thickness.

    Items are (image float32 [C, *patch], labels uint8 [*patch]). The object is picklable and holds no open file.

    Raises:
        InputError: no case, a case the store lacks, or an augmentation that cannot be built.
    """

    def __init__(
        self, store: PreparedStore, cases: Sequence[str], training: Training, seed: int, *, slice_axis: int = 2
    ) -> None:
        if not cases:
            raise InputError("there are 0 training cases", where=store.folder, remedy="check split.json")
        unknown = sorted(set(cases) - set(store.cases))
        if unknown:
            raise InputError("training cases are missing in the prepared store", where=store.folder, found=unknown)
        self.store, self.cases, self.training, self.seed = store, tuple(cases), training, seed
        self.slice_axis = slice_axis
        self.steps = build_steps(training.augmentation, patch=training.patch)

    def __len__(self) -> int:
        return self.training.total_steps(len(self.cases)) * self.training.batch

    def case_of(self, index: int) -> str:
        """The case that sample `index` is taken from."""
        repetition, position = divmod(index, len(self.cases))
        order = np.random.default_rng((self.seed, ORDER_STREAM, repetition)).permutation(len(self.cases))
        return self.cases[order[position]]

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = np.random.default_rng((self.seed, SAMPLE_STREAM, index))
        view = CaseView(self.store.open(self.case_of(index)))
        for step in self.steps:
            view = step.see(view, generator)
        image, labels = self._crop(view, generator)
        for step in self.steps:
            image, labels = step.apply(image, labels, self.training.patch, generator)
        return torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(np.ascontiguousarray(labels))

    def _crop(self, view: CaseView, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        patch, sampling, axis = self.training.patch, self.training.sampling, self.slice_axis
        if len(patch) not in (len(view.shape), len(view.shape) - 1):
            raise InputError(f"the patch is {len(patch)}-D", expected=f"{len(view.shape)} sides", found=patch)
        sliced = len(patch) < len(view.shape)
        whole = sampling.strategy == "whole"
        if whole and not sliced:
            return resize(*view.read([0] * len(patch), view.shape), patch)
        size = tuple(side for a, side in enumerate(view.shape) if a != axis) if whole else patch
        read = size
        for step in () if whole else self.steps:
            read = step.read_size(read)
        if sliced:
            size, read = slice_patch(size, axis), slice_patch(read, axis)
        choose = foreground_voxel if whole else STRATEGIES[sampling.strategy]
        image, labels = view.read(choose(view, size, read, sampling.foreground_fraction, generator), read)
        if sliced:
            image, labels = image.squeeze(axis + 1), labels.squeeze(axis)
        return resize(image, labels, patch) if whole else (image, labels)


def resize(image: np.ndarray, labels: np.ndarray, size: Sides) -> tuple[np.ndarray, np.ndarray]:
    """The whole image [C, *spatial] at another size: linear (half-pixel centres) for the image, nearest for labels."""
    return np.stack([resize_linear(channel, size) for channel in image]), resize_nearest(labels, size)
