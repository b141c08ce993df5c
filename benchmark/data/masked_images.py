"""Training samples of masked-image modelling: an image, and which of its tokens are hidden."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from benchmark.data.joint import JointDataset
from benchmark.data.masks import block_mask, cell_mask
from benchmark.data.sampling import PatchDataset
from benchmark.errors import InputError
from benchmark.settings import MaskedImages

MASK_STREAM = 2  # beside the streams of data.sampling: the mask of sample i does not depend on its augmentation


class MaskedImageDataset(Dataset):
    """The images of a data set of patches, with a mask drawn for each from the seed and i alone.

    Items are (image float32 [C, H, W], mask float32 [H / token, W / token], 1 = hidden).

    Raises:
        InputError: the patch is not a square image, or side, cell and token do not divide each other.
    """

    def __init__(self, samples: PatchDataset | JointDataset, settings: MaskedImages) -> None:
        sides = samples.training.patch
        if len(sides) != 2 or sides[0] != sides[1]:
            raise InputError("images are masked in squares", expected="a patch of two equal sides", found=sides)
        self.samples, self.settings, self.side = samples, settings, sides[0]
        self._mask(0)

    @property
    def steps_per_epoch(self) -> int:
        return self.samples.steps_per_epoch

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.samples[index][0], self._mask(index)

    def _mask(self, index: int) -> torch.Tensor:
        generator = np.random.default_rng((self.samples.seed, MASK_STREAM, index))
        if self.settings.masking == "cells":
            return torch.from_numpy(cell_mask(self.side, self.settings, generator).astype(np.float32))
        blocks = self.side // self.settings.cell
        noise = torch.from_numpy(generator.random((1, blocks**2), dtype=np.float32))
        return block_mask(noise, self.side, self.settings)[0]
