"""Augmentations of patches in the MONAI lineage that interpolate, smooth or add noise: MONAI's own transforms, with
parameters drawn from the sample's generator.

They are slower than those of `monai_augmentation`, and only recipes of other networks (DiNTS, 3D UX-Net) use them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from benchmark.data.augmentation_step import Patch
from benchmark.data.monai_augmentation import Intensity, Sometimes
from benchmark.errors import InputError


class _Spatial(Sometimes):
    """Move image (linearly) and labels (to the nearest voxel) by one MONAI transform."""

    probability: float = Field(1.0, ge=0, le=1)

    def transform(self, sides: int, generator: np.random.Generator, *, labels: bool) -> Any:
        """The MONAI transform of a patch with that many sides, for labels or for the image."""
        raise NotImplementedError

    def transformed(self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Patch:
        drawn = int(generator.integers(2**32))  # image and labels are moved by the same numbers
        images, label_maps = (
            self.transform(labels.ndim, np.random.default_rng(drawn), labels=kind) for kind in (False, True)
        )
        moved = np.asarray(images(np.ascontiguousarray(image)), dtype=np.float32)
        return moved, np.asarray(label_maps(labels[None].astype(np.float32)))[0].astype(labels.dtype)


class Rotate(_Spatial):
    """Rotate about each axis by an angle uniform in [-angle, angle], border voxels repeated (MONAI RandRotate)."""

    label = "rotation"
    angle: float = Field(0.3, ge=0, description="Radians")

    def transform(self, sides: int, generator: np.random.Generator, *, labels: bool) -> Any:
        from monai.transforms import Rotate as MonaiRotate

        angles = generator.uniform(-self.angle, self.angle, size=3 if sides == 3 else 1)
        return MonaiRotate(angles.tolist(), mode="nearest" if labels else "bilinear", padding_mode="border")


class ZoomPatch(_Spatial):
    """Zoom the patch about its centre, one factor for all axes; what lies outside repeats the border (MONAI RandZoom
    after the crop, keep_size)."""

    label = "zoom_patch"
    minimum: float = Field(0.8, gt=0, description="Factors are uniform from here")
    maximum: float = Field(1.2, gt=0, description="to here")

    def check(self, patch: tuple[int, ...]) -> None:
        if self.minimum > self.maximum:
            raise InputError(
                "zoom_patch has an empty range", expected="minimum <= maximum", found=(self.minimum, self.maximum)
            )

    def transform(self, sides: int, generator: np.random.Generator, *, labels: bool) -> Any:
        from monai.transforms import Zoom

        linear = "trilinear" if sides == 3 else "bilinear"
        kind = {"mode": "nearest"} if labels else {"mode": linear, "align_corners": True}
        return Zoom(generator.uniform(self.minimum, self.maximum), **kind)


class Affine(_Spatial):
    """Rotate about the last axis and scale each axis by itself, reflected at the border (MONAI RandAffine)."""

    label = "affine"
    angle: float = Field(np.pi / 30, ge=0, description="Radians, uniform in [-angle, angle]")
    scale: float = Field(0.1, ge=0, lt=1, description="Each axis by 1 + a number uniform in [-scale, scale]")

    def transform(self, sides: int, generator: np.random.Generator, *, labels: bool) -> Any:
        from monai.transforms import Affine as MonaiAffine

        angle = generator.uniform(-self.angle, self.angle)
        scales = 1 + generator.uniform(-self.scale, self.scale, size=sides)
        return MonaiAffine(
            rotate_params=(0.0, 0.0, angle) if sides == 3 else angle,
            scale_params=scales.tolist(),
            mode="nearest" if labels else "bilinear",
            padding_mode="reflection",
            image_only=True,
        )


class Smooth(Intensity):
    """Gaussian blur, its width in voxels uniform for each axis by itself (MONAI RandGaussianSmooth)."""

    label = "smooth"
    probability: float = Field(0.15, ge=0, le=1)
    minimum: float = Field(0.5, gt=0, description="Widths are uniform from here")
    maximum: float = Field(1.15, gt=0, description="to here")

    def change(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        from monai.transforms import GaussianSmooth

        widths = generator.uniform(self.minimum, self.maximum, size=image.ndim - 1)
        return np.asarray(GaussianSmooth(widths.tolist())(image), dtype=np.float32)


class Noise(Intensity):
    """Add Gaussian noise of a standard deviation uniform in [0, deviation] (MONAI RandGaussianNoise)."""

    label = "noise"
    probability: float = Field(0.15, ge=0, le=1)
    deviation: float = Field(0.01, ge=0)

    def change(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        deviation = generator.uniform(0, self.deviation)
        return image + generator.normal(0.0, deviation, size=image.shape).astype(np.float32)
