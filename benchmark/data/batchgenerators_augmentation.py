"""Augmentation as recipes that were written with batchgenerators list it: one transform after the other."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from benchmark.data.augmentation_step import Augmentation, Patch
from benchmark.data.batchgenerators_transforms import AnyTransform
from benchmark.errors import InputError


class Batchgenerators(Augmentation):
    """Transforms of batchgenerators, in the order in which they are listed."""

    label = "batchgenerators"
    slices: int | None = Field(
        None,
        ge=0,
        le=2,
        description="Axis of a volume whose slices are what batchgenerators takes for channels, as it does where a "
        "volume comes without an axis of channels: transforms act in the plane, and what they draw for each channel "
        "they draw for each slice; null: they act on the volume",
    )
    transforms: tuple[AnyTransform, ...] = ()

    def check(self, patch: tuple[int, ...]) -> None:
        if self.slices is not None and len(patch) != 3:
            raise InputError("slices are of volumes", expected="a patch of three sides", found=patch)
        for transform in self.transforms:
            transform.check(len(patch) - (self.slices is not None))

    def apply(
        self, image: np.ndarray, labels: np.ndarray, patch: tuple[int, ...], generator: np.random.Generator
    ) -> Patch:
        images, label_maps = self._as_channels(image), self._as_channels(labels[None])
        for transform in self.transforms:
            images, label_maps = transform.act(images, label_maps, generator)
        return self._as_volumes(images, image.shape), self._as_volumes(label_maps, (1, *labels.shape))[0]

    def _as_channels(self, array: np.ndarray) -> np.ndarray:
        """[C, *spatial] with the slices of all channels as channels: [C · slices, *plane]."""
        if self.slices is None:
            return array
        planes = np.moveaxis(array, self.slices + 1, 1)
        return planes.reshape(-1, *planes.shape[2:])

    def _as_volumes(self, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Inverse of `_as_channels`; `shape`: [C, *spatial]."""
        if self.slices is None:
            return array
        plane = [side for axis, side in enumerate(shape[1:]) if axis != self.slices]
        return np.moveaxis(array.reshape(shape[0], shape[self.slices + 1], *plane), 1, self.slices + 1)
