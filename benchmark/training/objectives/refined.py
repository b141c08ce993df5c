"""SAM-Med2D's training: one round on a point, then rounds on points where the last answer is wrong.

Facts: OpenGVLab/SAM-Med2D @bfd2b93, train.py and utils.py. After the first round the image embedding stays as it is and
prompts have no gradient, so that the decoder alone learns. Each round has an optimiser step of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.data.prompts import error_points
from benchmark.errors import InputError
from benchmark.settings import Training
from benchmark.training.objectives.prompted import prompted_loss

REFINE_STREAM, ROUND_STREAM = 4, 5  # beside the streams of data.prompts
PROBABILITY = 0.5  # above it a pixel is inside


class Answered(NamedTuple):
    """One forward pass of the first round, and its last answer.

    Attributes:
        embedding: what the decoder reads, without gradients.
        masks: [B, H, W], the reference.
        draws: [B, 2], seed and number of each sample.
        logits: [B, 1, H, W] of the last answer, without gradients.
        low_resolution: [B, 1, h, w] of the last answer, as the decoder gives it.
    """

    embedding: tuple
    masks: Tensor
    draws: Tensor
    logits: Tensor
    low_resolution: Tensor


class RefinedPrompts:
    """Images, masks, points and labels as of `Prompted`, and the seed and number of each sample [B, 2], which decide
    all draws: not on how many processes or in how many forward passes a step is computed.

    Attributes:
        further_rounds: after the first; the loop asks `again` for each of them.
    """

    def __init__(self, training: Training) -> None:
        if training.prompted is None or training.prompted.refinement is None:
            raise InputError("nothing says how prompts are refined", expected="training.prompted.refinement")
        self.loss, self.refinement, self.batch = training.prompted.loss, training.prompted.refinement, training.batch
        self.further_rounds = self.refinement.rounds
        self._answers: list[Answered] = []

    def start(self) -> None:
        """A new step: what the last one answered is forgotten."""
        self._answers = []

    def __call__(self, network: nn.Module, *batch: Tensor, epoch: int) -> Tensor:
        images, masks, points, labels, draws = batch
        logits, quality, low_resolution, features, *layers = network(images, points, labels, keep=True)
        embedding = (features.detach(), [layer.detach() for layer in layers], tuple(images.shape[2:]))
        self._answers.append(Answered(embedding, masks, draws, logits.detach(), low_resolution.detach()))
        return prompted_loss(logits, masks[:, None], self.loss, quality=quality)

    def again(self, network: nn.Module, part: int, number: int) -> Tensor:
        """Loss of round `number` (from 0) after the first, on forward pass `part` of the step."""
        last = self._answers[part]
        points, labels = self.prompts(last, number)
        logits, quality, low_resolution = network(
            None, points, labels, embedding=last.embedding, masks=last.low_resolution.sigmoid()
        )
        self._answers[part] = last._replace(logits=logits.detach(), low_resolution=low_resolution.detach())
        return prompted_loss(logits, last.masks[:, None], self.loss, quality=quality)

    def prompts(self, last: Answered, number: int) -> tuple[Tensor | None, Tensor | None]:
        """Points [B, k, 2] and labels [B, k] of a round; None in those that the mask prompt has for itself."""
        seed, first = last.draws[0].tolist()
        step, rounds = first // self.batch, self.refinement.rounds
        alone = np.random.default_rng((seed, ROUND_STREAM, step)).integers(1, rounds - 1)
        if number in (alone, rounds - 1):
            return None, None
        count = int(np.random.default_rng((seed, ROUND_STREAM, step, number)).choice(self.refinement.points))
        predicted = (last.logits[:, 0].sigmoid() > PROBABILITY).cpu().numpy()
        reference = last.masks.cpu().numpy() > 0
        found = [
            error_points(mask, wanted, count, np.random.default_rng((seed, REFINE_STREAM, index, number)))
            for mask, wanted, index in zip(predicted, reference, last.draws[:, 1].tolist(), strict=True)
        ]
        points, labels = (torch.from_numpy(np.stack(parts)) for parts in zip(*found, strict=True))
        return points.float().to(last.masks.device), labels.to(last.masks.device)
