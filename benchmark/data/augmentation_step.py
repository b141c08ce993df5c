"""What an augmentation is: a pydantic model whose fields are its parameters, so a misspelt one is refused by name."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmark.data.views import CaseView
from benchmark.settings import Settings

Patch = tuple[np.ndarray, np.ndarray]  # image float32 [C, *patch], labels uint8 [*patch]


class Augmentation(Settings):
    """Base of all steps. Override `see` to act on the volume before the crop, `apply` to act on the patch after it, and
    `distort` to act on a whole image before it is resized to the patch (with `needs_whole`)."""

    label: ClassVar[str]
    needs_whole: ClassVar[bool] = False  # refused where patches are cropped and not whole images resized
    needs_crop: ClassVar[bool] = False  # the other way round

    def check(self, patch: tuple[int, ...]) -> None:
        """Refuse a patch this step cannot work on, with an InputError."""

    def read_size(self, patch: tuple[int, ...], generator: np.random.Generator) -> tuple[int, ...]:
        """Size of the box to read so that `apply` can return one of size `patch`; it may be drawn."""
        return patch

    def see(self, view: CaseView, generator: np.random.Generator) -> CaseView:
        return view

    def distort(self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Patch:
        """Augment a whole image float32 [C, *spatial] and its labels [*spatial], of the same size or another."""
        return image, labels

    def apply(
        self, image: np.ndarray, labels: np.ndarray, patch: tuple[int, ...], generator: np.random.Generator
    ) -> Patch:
        """Augment a box of `read_size(patch)` voxels: image float32 [C, *box] and labels uint8 [*box]; returns the same
        of size `patch`."""
        return image, labels
