"""Training samples as a pure function of (seed, i): which case or slice, which patch, which augmentation.

Sample i belongs to pass i // n over the n cases (for 2-D networks that see whole slices: over the n slices of all
volumes); each pass visits every one once, in an order drawn from the seed and the pass. So the position of a training
is one integer, and any number of workers and ranks sees one global order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from benchmark.data.augmentation import build_steps
from benchmark.data.augmentation_step import Augmentation
from benchmark.data.crop_around_labels import crop_around_labels
from benchmark.data.dodnet_patches import label_box
from benchmark.data.geometry import slice_patch
from benchmark.data.resizing import (
    bring_into_range,
    labels_to_network,
    read_intensities,
    resize_channels,
    resize_labels,
)
from benchmark.data.store import PreparedCase, PreparedStore
from benchmark.data.views import CaseView
from benchmark.datasets.base import IGNORED
from benchmark.errors import InputError
from benchmark.settings import Resize, Sampling, Training

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


STRATEGIES: dict[str, Strategy] = {
    "foreground_voxel": foreground_voxel,
    "foreground_class": foreground_class,
    "label_box": label_box,
}


def strategy_of(sampling: Sampling) -> Strategy:
    """How the place of a patch is drawn, with what the settings say of it."""
    if sampling.strategy == "label_box":
        return partial(label_box, margin=sampling.box_margin)
    return STRATEGIES[sampling.strategy]


class Sample(NamedTuple):
    """What one sample is taken from: a case or, where whole slices of volumes are seen, one slice of it."""

    case: str
    slice: int | None = None


def list_samples(store: PreparedStore, cases: Sequence[str], training: Training, slice_axis: int) -> list[Sample]:
    """What one epoch is made of, in the order of `cases` and, within a volume, of its slices along `slice_axis`.

    Raises:
        InputError: no slice has any label, and only such slices are wanted.
    """
    if not training.counts_slices(volumes=True):
        return [Sample(case) for case in cases]
    samples = []
    for case in cases:
        meta = store.open(case).meta
        if len(meta["shape"]) < 3:
            samples.append(Sample(case))
            continue
        foreground = training.sampling.slices == "foreground"
        slices = meta["foreground_slices"][slice_axis] if foreground else range(meta["shape"][slice_axis])
        samples += [Sample(case, index) for index in slices]
    if not samples:
        raise InputError("no slice of the training cases has any label", where=store.folder, remedy="check the labels")
    return samples


@lru_cache(maxsize=2)  # a permutation of all slices is costlier than a sample; consecutive samples share it
def order_of(seed: int, repetition: int, count: int) -> np.ndarray:
    """The order in which a pass takes its `count` samples."""
    return np.random.default_rng((seed, ORDER_STREAM, repetition)).permutation(count)


class PatchDataset(Dataset):
    """Map-style data set over a whole training: `dataset[i]` for i in [0, total steps × batch).

    Args:
        store: a prepared store.
        cases: the training cases, all of them in the store.
        training: patch, sampling and augmentation are read from it.
        seed: decides every draw, together with i.
        slice_axis: axis of volumes that slices are taken along where the patch is 2-D; a patch of a slice is chosen as
            one of one voxel's thickness.

    Items are (image float32 [C, *patch], labels uint8 [*patch]). The object is picklable and holds no open file.

    Raises:
        InputError: no case, a case the store lacks, no slice, or an augmentation that cannot be built.
    """

    def __init__(
        self, store: PreparedStore, cases: Sequence[str], training: Training, seed: int, *, slice_axis: int = 2
    ) -> None:
        if not cases:
            raise InputError("there are 0 training cases", where=store.folder, remedy="check split.json")
        unknown = sorted(set(cases) - set(store.cases))
        if unknown:
            raise InputError("training cases are missing in the prepared store", where=store.folder, found=unknown)
        self.store, self.training, self.seed = store, training, seed
        self.slice_axis = slice_axis
        self.samples = list_samples(store, cases, training, slice_axis)
        self.steps = build_steps(training.augmentation, patch=training.patch)
        strategy = training.sampling.strategy
        unfit = [step.label for step in self.steps if step.needs_whole and strategy != "whole"]
        if unfit:
            raise InputError(f"{', '.join(unfit)} act on whole images", expected="sampling: whole", found=strategy)
        uncropped = [step.label for step in self.steps if step.needs_crop and strategy == "whole"]
        if uncropped:
            raise InputError(
                f"{', '.join(uncropped)} act on patches that are cropped",
                expected="sampling: " + " or ".join(STRATEGIES),
                found=strategy,
            )

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one epoch."""
        return self.training.steps_per_epoch(len(self.samples))

    def __len__(self) -> int:
        return self.training.total_steps(len(self.samples)) * self.training.batch

    def sample_of(self, index: int) -> Sample:
        """The case, or the slice of it, that sample `index` is taken from."""
        repetition, position = divmod(index, len(self.samples))
        return self.samples[order_of(self.seed, repetition, len(self.samples))[position]]

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.draw(self.sample_of(index), index)

    def draw(self, sample: Sample, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A patch of `sample` with its labels, drawn and augmented by the random numbers of `index`."""
        generator = np.random.default_rng((self.seed, SAMPLE_STREAM, index))
        case, number = sample
        view = CaseView(self.store.open(case))
        for step in self.steps:
            view = step.see(view, generator)
        whole = self.training.sampling.strategy == "whole"
        image, labels = self._whole(view, number, generator) if whole else self._crop(view, generator)
        labels = merged(labels) if self.training.sampling.structures == "merged" else labels
        for step in self.steps:
            image, labels = step.apply(image, labels, self.training.patch, generator)
        return torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(np.ascontiguousarray(labels))

    def _whole(
        self, view: CaseView, number: int | None, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        start, size = whole_box(view.prepared, self.training.sampling.margin)
        if number is not None:
            start[self.slice_axis], size[self.slice_axis] = number, 1
        image, labels = view.read(start, size)
        if self.training.sampling.box == "around_labels":
            image, labels = crop_around_labels(image, labels, generator)
        if number is not None:
            image, labels = image.squeeze(self.slice_axis + 1), labels.squeeze(self.slice_axis)
        _check_patch(self.training.patch, labels.shape)
        return fit_whole(image, labels, self.training, self.steps, generator)

    def _crop(self, view: CaseView, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        patch, sampling, axis = self.training.patch, self.training.sampling, self.slice_axis
        sliced = len(patch) == len(view.shape) - 1
        read = patch
        for step in self.steps:
            read = step.read_size(read, generator)
        size = patch
        if sliced:
            size, read = slice_patch(patch, axis), slice_patch(read, axis)
        _check_patch(size, view.shape)
        start = strategy_of(sampling)(view, size, read, sampling.foreground_fraction, generator)
        image, labels = view.read(start, read)
        return (image.squeeze(axis + 1), labels.squeeze(axis)) if sliced else (image, labels)


def whole_box(case: PreparedCase, margin: float | None) -> tuple[list[int], list[int]]:
    """Where the whole of a case begins and how large it is, in voxels: all of it, or with a `margin` in mm the box of
    its labelled voxels, so much larger on each side but inside of the volume; all of it where nothing is labelled."""
    shape, slices = list(case.labels.shape), case.meta.get("foreground_slices")
    if margin is None or not slices or not slices[0]:
        return [0] * len(shape), shape
    first, last = [labelled[0] for labelled in slices], [labelled[-1] + 1 for labelled in slices]
    start, stop = enlarged_box(first, last, case.meta["spacing"], margin, shape)
    return start, [end - begin for begin, end in zip(start, stop, strict=True)]


def enlarged_box(
    start: Sides, stop: Sides, spacing: Sequence[float], margin: float, shape: Sides
) -> tuple[list[int], list[int]]:
    """The box [start, stop) with `margin` mm more on each side, rounded to voxels, inside of a volume of `shape`."""
    more = [round(margin / mm) for mm in spacing]
    low = [max(first - by, 0) for first, by in zip(start, more, strict=True)]
    return low, [min(last + by, side) for last, by, side in zip(stop, more, shape, strict=True)]


def merged(labels: np.ndarray) -> np.ndarray:
    """Labels with all structures as class 1; voxels without a class stay so."""
    return np.where((labels > 0) & (labels != IGNORED), np.uint8(1), labels)


def fit_whole(
    image: np.ndarray,
    labels: np.ndarray,
    training: Training,
    steps: Sequence[Augmentation] = (),
    generator: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A whole image [C, *spatial] and its labels as a network of `whole` sees them: range, augmentation, size.

    `generator`: of the augmentation and of noise in the image; None: no augmentation, and the noise of prediction.
    """
    sampling = training.sampling
    image = read_intensities(image, sampling)
    for step in steps:
        if generator is None:
            raise ValueError("augmentation draws from a generator")
        image, labels = step.distort(image, labels, generator)
    image, labels = resize(image, labels, training.patch, sampling.resize)
    return bring_into_range(image, sampling.slice_range, generator), labels


def resize(image: np.ndarray, labels: np.ndarray, size: Sides, how: Resize) -> tuple[np.ndarray, np.ndarray]:
    """The whole image [C, *spatial] and its labels at another size."""
    if how.through is not None:
        labels = resize_labels(labels, how.through, how)
    return resize_channels(image, size, how), labels_to_network(labels, size, how)


def _check_patch(patch: Sides, shape: Sides) -> None:
    if len(patch) != len(shape):
        raise InputError(f"the patch is {len(patch)}-D", expected=f"{len(shape)} sides", found=tuple(patch))
