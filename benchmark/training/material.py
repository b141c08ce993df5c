"""What a training reads, put together by its objective: samples, validation, and the size of its network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset

from benchmark.data.joint import JointDataset
from benchmark.data.masked_images import MaskedImageDataset
from benchmark.data.prompts import PromptedDataset
from benchmark.data.sampling import PatchDataset
from benchmark.data.store import PreparedStore
from benchmark.errors import InputError
from benchmark.settings import RunConfig
from benchmark.training.objectives import make_objective
from benchmark.training.selection import Selector
from benchmark.training.validation import Validator


@dataclass(frozen=True)
class Material:
    """Samples of a whole training and what follows from them.

    Attributes:
        samples: map-style, sample i a pure function of (seed, i): a tuple of tensors, the image [C, *patch] first.
        steps_per_epoch: optimiser steps per epoch.
        in_channels: of the network.
        classes: of each store, background included.
        ignore: label of voxels without a class in any store; None where every voxel has one.
        validate: mean Dice over the validation cases; None where there are none.
        selector: chooses weights by the loss of the validation cases of all stores; None where the last ones count.
    """

    samples: Dataset
    steps_per_epoch: int
    in_channels: int
    classes: tuple[int, ...]
    ignore: int | None
    validate: Callable[..., float] | None
    selector: Selector | None = None


def make_material(config: RunConfig, stores: Sequence[PreparedStore], splits: Sequence[Mapping[str, Any]]) -> Material:
    """The material of a training.

    Args:
        stores, splits: as `config.stores` names them.

    Raises:
        InputError: as `PatchDataset` and `JointDataset`, or points are to be drawn in several stores.
    """
    training, axis = config.training, config.inference.slice_axis
    whole, _ = _samples(config, stores, [split["train"] for split in splits])
    samples: Any = whole
    if training.masked_images is not None:
        samples = MaskedImageDataset(whole, training.masked_images)
    if training.prompted is not None:
        if isinstance(whole, JointDataset):
            raise InputError(
                "points are drawn in one store", where=config.run, expected="no `joint`", found=len(stores)
            )
        numbered = training.prompted.refinement is not None
        samples = PromptedDataset(whole, training.prompted.point, numbered=numbered)
    store, split = stores[0], splits[0]
    classes = tuple(training.classes(len(one.label_names)) for one in stores)
    ignore = next((one.ignore_label for one in stores if one.ignore_label is not None), None)
    validated = split["val"] if len(stores) == 1 and training.objective == "segmentation" else []
    return Material(
        samples=samples,
        steps_per_epoch=samples.steps_per_epoch,
        in_channels=len(store.channels),
        classes=classes,
        ignore=ignore,
        validate=Validator(store, validated, training, slice_axis=axis) if validated else None,
        selector=_selector(config, stores, splits, classes, ignore),
    )


def _selector(
    config: RunConfig,
    stores: Sequence[PreparedStore],
    splits: Sequence[Mapping[str, Any]],
    classes: Sequence[int],
    ignore: int | None,
) -> Selector | None:
    """What chooses the weights of a training with `selection`: over its validation cases, augmented like the others.

    Raises:
        InputError: a store has no validation cases.
    """
    training, selection = config.training, config.training.selection
    if selection is None:
        return None
    for store, split in zip(stores, splits, strict=True):
        if not split["val"]:
            raise InputError(
                "weights are selected by validation cases, and there are none",
                where=store.folder,
                expected="a split with `val`",
                remedy="set training.selection to null",
            )
    weights = {"dice": selection.dice, "cross_entropy": selection.cross_entropy}
    validated = training.model_copy(update={"loss": training.loss.model_copy(update=weights)})
    samples, count = _samples(config, stores, [split["val"] for split in splits])
    return Selector(
        selection, samples, count=count, batch=training.batch, objective=make_objective(validated, classes, ignore)
    )


def _samples(
    config: RunConfig, stores: Sequence[PreparedStore], cases: Sequence[Sequence[str]]
) -> tuple[PatchDataset | JointDataset, int]:
    """Samples of some cases of each store, and how many one pass over them has."""
    training, axis = config.training, config.inference.slice_axis
    parts = [
        PatchDataset(store, names, training, config.seed, slice_axis=axis)
        for store, names in zip(stores, cases, strict=True)
    ]
    samples = parts[0] if len(parts) == 1 else JointDataset(parts, training, config.seed)
    return samples, sum(len(part.samples) for part in parts)
