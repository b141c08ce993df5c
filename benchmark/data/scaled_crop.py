"""A crop of a drawn size, resized to the patch, as DoDNet scales its patches."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from benchmark.data.augmentation_step import Augmentation, Patch
from benchmark.data.geometry import resize_linear, resize_nearest
from benchmark.errors import InputError


class ScaledCrop(Augmentation):
    """Crop the patch times one factor for all axes, sides rounded down, and resize it: linearly, labels to the nearest.

    The place is drawn for the size that is cropped. Sizes cover the same field (pixel areas), border voxels continued.
    """

    label = "scaled_crop"
    needs_crop = True
    probability: float = Field(0.2, ge=0, le=1)
    minimum: float = Field(0.7, gt=0, description="Factors are uniform from here")
    maximum: float = Field(
        1.4, gt=0, description="to here; above 1 the patch shows more of the image, at a smaller size"
    )

    def check(self, patch: tuple[int, ...]) -> None:
        if self.minimum > self.maximum:
            raise InputError(
                "scaled_crop has an empty range", expected="minimum <= maximum", found=(self.minimum, self.maximum)
            )

    def read_size(self, patch: tuple[int, ...], generator: np.random.Generator) -> tuple[int, ...]:
        if generator.random() >= self.probability:
            return patch
        factor = generator.uniform(self.minimum, self.maximum)
        return tuple(max(1, int(side * factor)) for side in patch)

    def apply(
        self, image: np.ndarray, labels: np.ndarray, patch: tuple[int, ...], generator: np.random.Generator
    ) -> Patch:
        if labels.shape == patch:
            return image, labels
        return np.stack([resize_linear(channel, patch) for channel in image]), resize_nearest(labels, patch)
