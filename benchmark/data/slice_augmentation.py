"""Augmentation of whole slices before they are resized: one branch of several, as in TransUNet and its descendants.

TransUNet, SAMed and M4oE: quarter_turn_flip 0.5, rotate 0.5. E-SAM and H-SAM: rotate 0.45, crop 0.75, elastic 0.85.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from scipy import ndimage

from benchmark.data.augmentation_step import Augmentation, Patch
from benchmark.errors import InputError
from benchmark.settings import Settings


class Branch(Settings):
    """One operation, and how probable it is where no branch before it was taken."""

    probability: float = Field(ge=0, le=1)

    def act(self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Patch:
        """image [C, H, W] and labels [H, W] to the same of any size."""
        raise NotImplementedError


class QuarterTurnFlip(Branch):
    """Rotate by 0 to 3 quarter turns, then mirror one of the two axes."""

    name: Literal["quarter_turn_flip"]

    def act(self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Patch:
        turns, axis = int(generator.integers(0, 4)), int(generator.integers(0, 2))
        return np.flip(np.rot90(image, turns, (1, 2)), axis + 1), np.flip(np.rot90(labels, turns), axis)


class Rotate(Branch):
    """Rotate by a whole number of degrees in [-degrees, degrees): nearest pixels, 0 from outside, for the image too."""

    name: Literal["rotate"]
    degrees: int = Field(20, gt=0)

    def act(self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Patch:
        angle = int(generator.integers(-self.degrees, self.degrees))
        return _both(lambda plane: ndimage.rotate(plane, angle, order=0, reshape=False), image, labels)


class Crop(Branch):
    """Cut out a box whose sides are one random share of the slice's."""

    name: Literal["crop"]
    smallest: float = Field(0.2, gt=0, le=1)
    largest: float = Field(0.8, gt=0, le=1)

    def act(self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Patch:
        share = generator.uniform(self.smallest, self.largest)
        rows, columns = (max(int(side * share), 1) for side in labels.shape)
        left = int(generator.integers(0, labels.shape[1] - columns + 1))
        top = int(generator.integers(0, labels.shape[0] - rows + 1))
        return _both(lambda plane: plane[top : top + rows, left : left + columns], image, labels)


class Elastic(Branch):
    """A random affine map and smooth random displacements, bilinear for image and labels; labels are then truncated, so
    that new classes arise between two (as released). Lengths are shares of the number of columns."""

    name: Literal["elastic"]
    displacement: float = Field(2.0, ge=0, description="Factor of the smoothed uniform noise")
    smoothness: float = Field(0.08, gt=0, description="Sigma of the Gaussian that smoothes it")
    affine: float = Field(0.08, ge=0, description="Largest shift of the three points that decide the affine map")

    def act(self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Patch:
        width = labels.shape[1]
        matrix, offset = self._affine(labels.shape, generator)
        vertical, horizontal = np.indices(labels.shape, dtype=np.float64)
        for grid in (horizontal, vertical):
            noise = generator.random(labels.shape) * 2 - 1
            grid += ndimage.gaussian_filter(noise, self.smoothness * width) * self.displacement * width

        def move(plane: np.ndarray) -> np.ndarray:
            turned = ndimage.affine_transform(plane.astype(np.float32), matrix, offset, order=1, mode="mirror")
            return ndimage.map_coordinates(turned, [vertical, horizontal], order=1, mode="constant")

        moved, moved_labels = _both(move, image, labels)
        return moved, moved_labels.astype(labels.dtype)

    def _affine(self, shape: tuple[int, ...], generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Matrix and offset that take an output position (row, column) to where it is read."""
        centre, reach = np.array(shape, np.float32) // 2, min(shape) // 3
        before = np.array([centre + reach, [centre[0] + reach, centre[1] - reach], centre - reach], np.float32)
        shift = generator.uniform(-self.affine * shape[1], self.affine * shape[1], size=before.shape)
        after = before + shift.astype(np.float32)
        # both in (x, y); the map from after to before is solved for and its axes are then turned to (row, column)
        known = np.column_stack([after.astype(np.float64), np.ones(3)])
        solution = np.linalg.solve(known, before.astype(np.float64)).T
        return solution[::-1, 1::-1], solution[::-1, 2]


Operation = Annotated[QuarterTurnFlip | Rotate | Crop | Elastic, Field(discriminator="name")]


class SliceBranches(Augmentation):
    """The first branch that a draw takes, or none; acts on whole slices at their stored size."""

    label = "slice_branches"
    needs_whole = True
    branches: tuple[Operation, ...] = Field(description="Each with the probability that it is taken if none before was")

    def check(self, patch: tuple[int, ...]) -> None:
        if len(patch) != 2:
            raise InputError("slice_branches acts on slices", expected="a patch with two sides", found=patch)

    def distort(self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Patch:
        for branch in self.branches:
            if generator.random() > 1 - branch.probability:
                return branch.act(image, labels, generator)
        return image, labels


def _both(change: Callable[[np.ndarray], np.ndarray], image: np.ndarray, labels: np.ndarray) -> Patch:
    return np.stack([change(channel) for channel in image]), change(labels)
