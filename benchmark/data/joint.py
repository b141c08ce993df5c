"""Training samples of several prepared stores together: each pass takes every sample of each store once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from torch.utils.data import Dataset

from benchmark.data.sampling import PatchDataset, order_of
from benchmark.errors import InputError
from benchmark.settings import Training


class JointDataset(Dataset):
    """Map-style data set over a whole training, like `PatchDataset`, over several of them.

    Items are (image float32 [C, *patch], labels uint8 [*patch], number of the store). What item i is depends on the
    seed and i alone. Classes are those of each sample's own store.

    Args:
        parts: one per store, in the order of the network's heads.
        training, seed: as of the parts.

    Raises:
        InputError: the stores differ in their channels.
    """

    def __init__(self, parts: Sequence[PatchDataset], training: Training, seed: int) -> None:
        channels = {part.store.info["dataset"]: len(part.store.channels) for part in parts}
        if len(set(channels.values())) > 1:
            raise InputError("stores with other channels cannot be trained on together", found=channels)
        self.parts, self.training, self.seed = tuple(parts), training, seed
        self.ends = list(accumulate(len(part.samples) for part in parts))

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one epoch: a pass over all samples of all stores."""
        return self.training.steps_per_epoch(self.ends[-1])

    def __len__(self) -> int:
        return self.training.total_steps(self.ends[-1]) * self.training.batch

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        repetition, position = divmod(index, self.ends[-1])
        drawn = int(order_of(self.seed, repetition, self.ends[-1])[position])
        number = int(np.searchsorted(self.ends, drawn, side="right"))
        part = self.parts[number]
        sample = part.samples[drawn - (self.ends[number] - len(part.samples))]
        return *part.draw(sample, index), torch.tensor(number)
