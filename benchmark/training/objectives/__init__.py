"""What a training learns: from a network and a batch to a loss. The loop knows no more of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from benchmark.errors import InputError
from benchmark.settings import Training
from benchmark.training.objectives.dice_cross_entropy import SegmentationLoss
from benchmark.training.objectives.masked_images import reconstruction_loss
from benchmark.training.objectives.prompted import prompted_loss
from benchmark.training.objectives.refined import RefinedPrompts
from benchmark.training.objectives.segmentation import own_classes


class Objective(Protocol):
    """From a network and the tensors of a batch, the images first, to a loss: a mean over the batch's samples."""

    def __call__(self, network: nn.Module, *batch: Tensor, epoch: int) -> Tensor: ...


@runtime_checkable
class InRounds(Objective, Protocol):
    """An objective that asks again about the same batch, with an update after each round (`RefinedPrompts`)."""

    @property
    def further_rounds(self) -> int: ...

    def start(self) -> None: ...

    def again(self, network: nn.Module, part: int, number: int) -> Tensor: ...


class Segmentation:
    """Images [B, C, *patch] and labels [B, *patch]."""

    def __init__(self, training: Training) -> None:
        self.loss = SegmentationLoss(training.loss)

    def __call__(self, network: nn.Module, *batch: Tensor, epoch: int) -> Tensor:
        images, labels = batch
        return self.loss(network(images), labels, epoch=epoch)


class JointSegmentation:
    """Images and labels of several stores, and the number of each sample's store, which is also that of its head.

    Args:
        classes: of each store, background included.
    """

    def __init__(self, training: Training, classes: Sequence[int]) -> None:
        self.training, self.classes = training, tuple(classes)

    def __call__(self, network: nn.Module, *batch: Tensor, epoch: int) -> Tensor:
        images, labels, stores = batch
        numbers = stores.tolist()
        return own_classes(network(images, numbers), labels, [self.classes[k] for k in numbers], self.training.loss)


class MaskedImageModelling:
    """Images [B, C, H, W] and the masks of their tokens [B, h, w]; the network gives images of the same size."""

    def __init__(self, training: Training) -> None:
        if training.masked_images is None:
            raise InputError("nothing says what is masked", expected="training.masked_images", found=None)
        self.settings = training.masked_images

    def __call__(self, network: nn.Module, *batch: Tensor, epoch: int) -> Tensor:
        images, masks = batch
        return reconstruction_loss(images, network(images, masks), masks, self.settings)


class Prompted:
    """Images [B, C, H, W], the mask of one structure of each [B, H, W], and a point on it [B, 1, 2] with its label
    [B, 1]; the network gives one mask and its predicted quality per image, [B, 1, H, W] and [B, 1]."""

    def __init__(self, training: Training) -> None:
        if training.prompted is None:
            raise InputError("nothing says how points are drawn", expected="training.prompted", found=None)
        self.loss = training.prompted.loss

    def __call__(self, network: nn.Module, *batch: Tensor, epoch: int) -> Tensor:
        images, masks, points, labels = batch
        logits, quality = network(images, points, labels)
        return prompted_loss(logits, masks[:, None], self.loss, quality=quality)


def make_objective(training: Training, classes: Sequence[int], ignore: int | None = None) -> Objective:
    """The objective of a recipe.

    Args:
        classes: of each store that the training reads, background included.
        ignore: label of voxels that nobody labelled, which no term of the loss counts; a recipe's own goes before it.

    Raises:
        InputError: the recipe does not say what the objective needs.
    """
    if training.objective == "masked_images":
        return MaskedImageModelling(training)
    if training.prompted is not None and training.prompted.refinement is not None:
        return RefinedPrompts(training)
    if training.objective == "prompted":
        return Prompted(training)
    unlabelled = {"ignore": ignore, "ignored_mass": False}
    if ignore is not None and training.loss.ignore is None:
        training = training.model_copy(update={"loss": training.loss.model_copy(update=unlabelled)})
    return Segmentation(training) if len(classes) == 1 else JointSegmentation(training, classes)
