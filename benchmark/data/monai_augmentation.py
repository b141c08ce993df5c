"""Augmentations of the MONAI lineage, each like the MONAI transform it names.

Zoom acts on the whole volume before the crop, the others on the patch.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from benchmark.data.augmentation_step import Augmentation, Patch
from benchmark.data.views import CaseView, ZoomedView
from benchmark.errors import InputError


class Zoom(Augmentation):
    """Enlarge the whole volume about its centre, one factor for all axes (MONAI RandZoom, keep_size, area/nearest)."""

    label = "zoom"
    probability: float = Field(0.3, ge=0, le=1)
    minimum: float = Field(1.3, ge=1, description="Factors are uniform from here")
    maximum: float = Field(1.5, ge=1, description="to here")

    def check(self, patch: tuple[int, ...]) -> None:
        if self.minimum > self.maximum:
            raise InputError(
                "zoom has an empty range", expected="minimum <= maximum", found=(self.minimum, self.maximum)
            )

    def see(self, view: CaseView, generator: np.random.Generator) -> CaseView:
        if generator.random() >= self.probability:
            return view
        return ZoomedView(view.prepared, generator.uniform(self.minimum, self.maximum))


class Sometimes(Augmentation):
    """Something that is done to a patch with `probability`."""

    probability: float = Field(ge=0, le=1)

    def transformed(self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Patch:
        raise NotImplementedError

    def apply(
        self, image: np.ndarray, labels: np.ndarray, patch: tuple[int, ...], generator: np.random.Generator
    ) -> Patch:
        if generator.random() >= self.probability:
            return image, labels
        return self.transformed(image, labels, generator)


class Rotate90(Sometimes):
    """Rotate by 90° once to `maximum` times in one plane (MONAI RandRotate90)."""

    label = "rotate90"
    probability: float = Field(0.1, ge=0, le=1)
    axes: tuple[int, int] = Field((0, 1), description="Spatial axes of the plane")
    maximum: int = Field(3, ge=1, le=3, description="Largest number of quarter turns")

    def check(self, patch: tuple[int, ...]) -> None:
        if max(self.axes) >= len(patch) or patch[self.axes[0]] != patch[self.axes[1]]:
            raise InputError("rotate90 needs a patch with equal sides in its plane", expected=self.axes, found=patch)

    def transformed(self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Patch:
        turns = int(generator.integers(1, self.maximum + 1))
        plane = self.axes[0] + 1, self.axes[1] + 1
        return np.rot90(image, turns, plane), np.rot90(labels, turns, self.axes)


class Flip(Augmentation):
    """Mirror each of `axes` by itself with the same probability (one MONAI RandFlip per axis)."""

    label = "flip"
    probability: float = Field(0.5, ge=0, le=1)
    axes: tuple[int, ...] = Field((0, 1, 2), description="Spatial axes")

    def apply(
        self, image: np.ndarray, labels: np.ndarray, patch: tuple[int, ...], generator: np.random.Generator
    ) -> Patch:
        chosen = tuple(axis for axis in self.axes if generator.random() < self.probability)
        return np.flip(image, tuple(axis + 1 for axis in chosen)), np.flip(labels, chosen)


class Intensity(Sometimes):
    """Change all voxels of the image alike."""

    def change(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        raise NotImplementedError

    def transformed(self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Patch:
        return self.change(image, generator), labels


class ShiftIntensity(Intensity):
    """Add one number, uniform in [-offset, offset], to all voxels (MONAI RandShiftIntensity)."""

    label = "shift_intensity"
    probability: float = Field(0.2, ge=0, le=1)
    offset: float = Field(0.1, ge=0)

    def change(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return image + np.float32(generator.uniform(-self.offset, self.offset))


class ScaleIntensity(Intensity):
    """Multiply all voxels by 1 + one number, uniform in [-factor, factor] (MONAI RandScaleIntensity)."""

    label = "scale_intensity"
    probability: float = Field(0.1, ge=0, le=1)
    factor: float = Field(0.1, ge=0)

    def change(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return image * np.float32(1 + generator.uniform(-self.factor, self.factor))
