"""Which weights a training ends with, where these are not the last: M4oE's choice by a running validation loss."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from benchmark.errors import InputError
from benchmark.settings import Selection
from benchmark.training.objectives import Objective


class Selector:
    """Looks at the validation loss of a network, keeps the weights of the lowest one, and says when it is enough.

    As trainer.py of JefferyJiang-YF/M4oE @4f8c343 has it, defects included (`validation_loss`).

    Args:
        settings: how often it looks, and after how many looks without a lower loss a training ends.
        samples: map-style, one pass over the validation samples after another, as of a training.
        count: of samples in one pass.
        batch: samples per forward pass.
        objective: from the network and a batch to a loss, with the weights of `settings`.

    Raises:
        InputError: there is no validation sample.
    """

    def __init__(self, settings: Selection, samples: Dataset, *, count: int, batch: int, objective: Objective) -> None:
        if count < 1:
            raise InputError("weights are to be selected without validation samples", remedy="set selection to null")
        self.settings, self.samples, self.count, self.batch, self.objective = settings, samples, count, batch, objective
        self.looks, self.without_gain, self.lowest = 0, 0, math.inf
        self.step: int | None = None
        self.weights: dict[str, Tensor] = {}

    def is_due(self, epoch: int) -> bool:
        """Whether it looks after this epoch (0-based): after the first, and every `interval` from there on."""
        return epoch % self.settings.interval == 0

    @property
    def is_over(self) -> bool:
        """Whether the training ends because the loss has not fallen for long enough."""
        return self.without_gain >= self.settings.patience

    def measure(self, network: nn.Module, device: torch.device, *, epoch: int) -> float:
        """The validation loss of this look; the network is in training mode afterwards."""
        return validation_loss(network, self._batches(device), self.objective, epoch=epoch)

    def take(self, loss: float, network: nn.Module, *, step: int) -> bool:
        """Count a look; True where its weights are the best so far. A loss that is no number is no gain."""
        self.looks += 1
        if not loss < self.lowest:
            self.without_gain += 1
            return False
        self.without_gain, self.lowest, self.step = 0, loss, step
        self.weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
        return True

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        names = ("looks", "without_gain", "lowest", "step", "weights")
        return {name: getattr(self, name) for name in names}

    def load_state(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def _batches(self, device: torch.device) -> Iterator[list[Tensor]]:
        """One pass, the last batch as it is; each look draws (and augments) its own, as the release does."""
        first = self.looks * self.count
        for start in range(first, first + self.count, self.batch):
            stop = min(start + self.batch, first + self.count)
            batch = default_collate([self.samples[index] for index in range(start, stop)])
            yield [part.to(device) for part in batch]


@torch.no_grad()
def validation_loss(
    network: nn.Module, batches: Iterator[Sequence[Tensor]], objective: Objective, *, epoch: int
) -> float:
    """M4oE's running validation loss, by which the last batches outweigh all others.

    The sum of the losses so far is divided by the size of the batch after *every* batch and goes on from there. The
    network is put into training mode behind each batch, so that only the first is seen in evaluation mode.

    Returns:
        The last value of the running loss; 0 without any batch.
    """
    running = 0.0
    network.eval()
    for batch in batches:
        size = len(batch[0])
        running = (running + size * float(objective(network, *batch, epoch=epoch))) / size
        network.train()
    network.train()
    return running
