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
    """

    samples: Dataset
    steps_per_epoch: int
    in_channels: int
    classes: tuple[int, ...]
    ignore: int | None
    validate: Callable[..., float] | None


def make_material(config: RunConfig, stores: Sequence[PreparedStore], splits: Sequence[Mapping[str, Any]]) -> Material:
    """The material of a training.

    Args:
        stores, splits: as `config.stores` names them.

    Raises:
        InputError: as `PatchDataset` and `JointDataset`, or points are to be drawn in several stores.
    """
    training, axis = config.training, config.inference.slice_axis
    parts = [
        PatchDataset(store, split["train"], training, config.seed, slice_axis=axis)
        for store, split in zip(stores, splits, strict=True)
    ]
    samples = parts[0] if len(parts) == 1 else JointDataset(parts, training, config.seed)
    if training.masked_images is not None:
        samples = MaskedImageDataset(samples, training.masked_images)
    if training.prompted is not None:
        if len(parts) > 1:
            raise InputError("points are drawn in one store", where=config.run, expected="no `joint`", found=len(parts))
        samples = PromptedDataset(parts[0], training.prompted.point)
    store, split = stores[0], splits[0]
    validated = split["val"] if len(stores) == 1 and training.objective == "segmentation" else []
    return Material(
        samples=samples,
        steps_per_epoch=samples.steps_per_epoch,
        in_channels=len(store.channels),
        classes=tuple(len(one.label_names) + 1 for one in stores),
        ignore=next((one.ignore_label for one in stores if one.ignore_label is not None), None),
        validate=Validator(store, validated, training, slice_axis=axis) if validated else None,
    )
