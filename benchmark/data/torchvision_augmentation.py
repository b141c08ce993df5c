"""Augmentation of whole images as in torchvision, before they are resized to the patch."""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from benchmark.data.augmentation_step import Augmentation, Patch
from benchmark.errors import InputError

ATTEMPTS = 10


class RandomResizedCrop(Augmentation):
    """Cut out a box of random area and aspect, which is then resized to the patch (torchvision RandomResizedCrop).

    The area is uniform, the logarithm of the aspect too; a box that does not fit is drawn again, ten times in all, and
    then the largest central one with an allowed aspect is taken.
    """

    label = "random_resized_crop"
    needs_whole = True
    smallest: float = Field(0.08, gt=0, le=1, description="Smallest share of the image's area")
    largest: float = Field(1.0, gt=0, le=1, description="Largest share of the image's area")
    narrowest: float = Field(3 / 4, gt=0, description="Smallest columns over rows")
    widest: float = Field(4 / 3, gt=0, description="Largest columns over rows")

    def check(self, patch: tuple[int, ...]) -> None:
        if len(patch) != 2:
            raise InputError("random_resized_crop acts on slices", expected="a patch with two sides", found=patch)
        if self.smallest > self.largest or self.narrowest > self.widest:
            raise InputError(
                "random_resized_crop has an empty range",
                expected="smallest <= largest, narrowest <= widest",
                found=(self.smallest, self.largest, self.narrowest, self.widest),
            )

    def distort(self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Patch:
        top, left, rows, columns = self.box(labels.shape, generator)
        box = (slice(top, top + rows), slice(left, left + columns))
        return image[:, *box], labels[box]

    def box(self, shape: tuple[int, int], generator: np.random.Generator) -> tuple[int, int, int, int]:
        """First row, first column, rows and columns of a box in an image of that shape."""
        height, width = shape
        for _ in range(ATTEMPTS):
            area = height * width * generator.uniform(self.smallest, self.largest)
            aspect = math.exp(generator.uniform(math.log(self.narrowest), math.log(self.widest)))
            rows, columns = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
            if 0 < rows <= height and 0 < columns <= width:
                top = int(generator.integers(0, height - rows + 1))
                return top, int(generator.integers(0, width - columns + 1)), rows, columns
        rows, columns = height, width
        if width / height < self.narrowest:
            rows = max(round(width / self.narrowest), 1)
        elif width / height > self.widest:
            columns = max(round(height * self.widest), 1)
        return (height - rows) // 2, (width - columns) // 2, rows, columns
