"""Augmentations by name; a protocol lists them as {name, parameters}, and they act in that order.

Every draw comes from the sample's own numpy Generator, so that sample i is the same on any worker, rank and machine.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from pydantic import ValidationError

from benchmark.data.augmentation_step import Augmentation
from benchmark.data.batchgenerators_augmentation import Batchgenerators
from benchmark.data.monai_augmentation import Flip, Rotate90, ScaleIntensity, ShiftIntensity, Zoom
from benchmark.data.monai_spatial import Affine, Noise, Rotate, Smooth, ZoomPatch
from benchmark.data.nnunet_augmentation import NnUnet
from benchmark.data.scaled_crop import ScaledCrop
from benchmark.data.slice_augmentation import SliceBranches
from benchmark.data.torchvision_augmentation import RandomResizedCrop
from benchmark.errors import InputError
from benchmark.settings import Step

STEPS: dict[str, type[Augmentation]] = {
    step.label: step
    for step in (
        *(Zoom, Rotate90, Flip, ShiftIntensity, ScaleIntensity),
        *(Rotate, ZoomPatch, Affine, Smooth, Noise),
        *(NnUnet, SliceBranches, RandomResizedCrop),
        *(ScaledCrop, Batchgenerators),
    )
}


def build_steps(steps: Sequence[Step], *, patch: tuple[int, ...]) -> list[Augmentation]:
    """The augmentations a protocol lists, in order.

    Raises:
        InputError: unknown name, unknown or ill-typed parameter, or a patch the step cannot work on.
    """
    built = []
    for step in steps:
        if step.name not in STEPS:
            raise InputError(f"unknown augmentation {step.name!r}", expected="one of " + ", ".join(sorted(STEPS)))
        kind = STEPS[step.name]
        try:
            augmentation = kind(**step.parameters)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise InputError(
                f"augmentation {step.name!r} refuses its parameters",
                expected=", ".join(f"{name} = {field.default!r}" for name, field in kind.model_fields.items()),
                found=problems,
                remedy=inspect.getdoc(kind),
            ) from error
        augmentation.check(patch)
        built.append(augmentation)
    return built
