"""What decides a run's result: typed settings of each stage, and `RunConfig`, which joins them.

These are the values after provenance tags are stripped (see `catalog.protocols`). Field descriptions are the user's
documentation: the JSON schemas in workflow/schemas are generated from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from benchmark.files import value_digest

Scale = Literal["paper", "demo"]


class Settings(BaseModel):
    """Base of all settings: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Step(Settings):
    """One named operation with its parameters, e.g. an augmentation."""

    name: str = Field(description="Registered name of the operation")
    parameters: dict[str, Any] = Field(default_factory=dict, description="Its keyword arguments")


class Preparation(Settings):
    """From verified raw cases to the prepared-case store."""

    spacing: tuple[float, ...] | None = Field(
        None, description="Target voxel spacing in mm; null keeps the raw spacing"
    )
    orientation: str | None = Field(
        "RAS",
        description="Axis codes of the prepared array; null keeps the raw axes; axial: the same, but the last axis of "
        "coronal and sagittal arrays becomes the one along the body",
    )
    clip: tuple[float, float] | None = Field(None, description="Intensity window, in raw units (HU for CT)")
    normalise: Literal["unit", "zscore", "zscore_nonzero", "none"] = Field(
        "unit", description="unit: window to [0, 1]; zscore: per case and channel; none: as it is"
    )
    foreground_above: float | None = Field(
        None, description="Crop to the box of voxels above this value after normalising; null keeps the whole volume"
    )
    pad_to_patch_multiple: bool = Field(
        False, description="Enlarge the training crop to a multiple of the patch, as the released Swin SMT loader does"
    )


class Loss(Settings):
    """Dice plus cross-entropy and its details."""

    dice: float = Field(1.0, description="Weight of the soft Dice term")
    cross_entropy: float = Field(1.0, description="Weight of the cross-entropy term")
    include_background: bool = Field(True, description="Whether class 0 is a term of the Dice mean")
    batch_dice: bool = Field(False, description="Sum over the batch (and over ranks) before the Dice ratio")
    squared_denominator: bool = Field(False, description="Squares in the denominator of the soft Dice")
    smooth_numerator: float = Field(1e-5, description="Added to the numerator")
    smooth_denominator: float = Field(1e-5, description="Added to the denominator")
    deep_supervision: tuple[float, ...] | None = Field(
        None, description="Weights of the outputs, full resolution first; null: single output"
    )


class Optimiser(Settings):
    name: Literal["adamw", "adam", "sgd"]
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = Field(1e-8, gt=0, description="Adam and AdamW only: added to the root of the second moment")
    momentum: float = Field(0.0, description="SGD only")
    nesterov: bool = Field(False, description="SGD only")


class Schedule(Settings):
    name: Literal["constant", "warmup_cosine", "cosine", "poly", "linear"]
    warmup_epochs: float = Field(0, ge=0, description="Linear rise from warmup_start before the schedule proper")
    warmup_start: float = Field(0.0, description="Learning rate at step 0 of the warm-up")
    minimum: float = Field(0.0, description="Learning rate at the end of a cosine or linear fall")
    power: float = Field(0.9, description="Exponent of poly")
    total_epochs: float | None = Field(None, description="Length of the fall, if not the epochs trained")
    granularity: Literal["step", "epoch"] = Field("epoch", description="How often the learning rate changes")


class Sampling(Settings):
    """How a training patch is chosen."""

    strategy: Literal["foreground_voxel", "foreground_class", "whole"] = Field(
        "foreground_voxel",
        description="foreground_voxel: centre uniformly among foreground voxels (MONAI); foreground_class: first a "
        "class, then one of its voxels (nnU-Net); whole: the whole image, resized to the patch",
    )
    foreground_fraction: float = Field(0.5, ge=0, le=1, description="Share of patches centred on foreground")


class Training(Settings):
    """How a run is trained."""

    patch: tuple[int, ...] = Field(description="Patch size in voxels of the prepared store")
    batch: int = Field(gt=0, description="Global batch: samples per optimiser step over all processes")
    epochs: int = Field(gt=0)
    iterations_per_epoch: int | None = Field(None, description="Optimiser steps per epoch; null: every case once")
    loss: Loss = Loss()
    optimiser: Optimiser
    schedule: Schedule
    sampling: Sampling = Sampling()
    augmentation: tuple[Step, ...] = ()
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    clip_norm: float | None = Field(None, description="Gradient norm above which gradients are scaled down")
    freeze_epochs: int = Field(0, ge=0, description="Epochs in which the pre-trained encoder stays fixed")
    validation_interval: int = Field(50, gt=0, description="Epochs between validations")
    checkpoint_interval: int = Field(500, gt=0, description="Optimiser steps between checkpoints")
    synchronise_batch_norm: bool = Field(False, description="Batch statistics over all processes")
    find_unused_parameters: bool = Field(False, description="Needed where some parameters get no gradient")
    devices: int = Field(1, gt=0, description="GPUs the protocol trains on")

    def steps_per_epoch(self, cases: int) -> int:
        """Optimiser steps in one epoch over `cases` training cases (the last batch is filled up, none is dropped)."""
        return self.iterations_per_epoch or -(-cases // self.batch)

    def total_steps(self, cases: int) -> int:
        return self.epochs * self.steps_per_epoch(cases)


class Inference(Settings):
    """How a trained network labels a case."""

    method: Literal["sliding_window", "slices", "whole"] = Field(
        "sliding_window", description="volumes by sliding window, volumes slice by slice, or whole resized images"
    )
    patch: tuple[int, ...] | None = Field(None, description="Window size; null: the training patch")
    slice_axis: int = Field(2, ge=0, le=2, description="Axis of the prepared volume that 2-D networks are moved along")
    overlap: float = Field(0.5, ge=0, lt=1)
    weighting: Literal["gaussian", "constant"] = "gaussian"
    sigma_scale: float = Field(0.125, description="Gaussian sigma as a share of the window")
    window_batch: int = Field(1, gt=0, description="Windows per forward pass")
    mirror: bool = Field(False, description="Average over mirrored copies (test-time augmentation)")
    splits: tuple[str, ...] = Field(("test",), description="Which cases are predicted: any of train, val, test")
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"

    def cases(self, split: Mapping[str, Any]) -> list[str]:
        """Ids of the cases that are predicted and scored, in the order of split.json's content."""
        return [case for part in self.splits for case in split[part]]


class ModelSpec(Settings):
    """A network and its options."""

    name: str = Field(description="Registered name: a module of benchmark/models")
    options: dict[str, Any] = Field(default_factory=dict)
    initialisation: str = Field("scratch", description="scratch, or a name of the weights registry")
    demo: dict[str, Any] | None = Field(
        None, description="Options at demo scale, in place of the network's own demo options; ours, so without tags"
    )


class RunConfig(Settings):
    """Everything that decides a run's result, resolved to one scale."""

    run: str = Field(description="<paper>/<protocol>/<model>/seed<k>")
    scale: Scale
    dataset: str
    labels: tuple[str, ...] | None = Field(None, description="Restrict to these structures, numbered 1… in this order")
    model: ModelSpec
    preparation: Preparation
    training: Training
    inference: Inference
    convention: str = Field(description="Scoring convention")
    seed: int = Field(ge=0)

    @field_validator("run")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        if len(value.split("/")) != 4:
            raise ValueError("a run id is <paper>/<protocol>/<model>/seed<k>")
        return value

    @property
    def preparation_id(self) -> str:
        """Name of the prepared store this run reads: equal for runs that prepare alike."""
        patch = self.training.patch if self.preparation.pad_to_patch_multiple else None
        return value_digest([self.dataset, self.labels, self.preparation.model_dump(mode="json"), patch])

    @property
    def digest(self) -> str:
        """Configuration hash: recorded in checkpoints and in every score."""
        return value_digest(self.model_dump(mode="json"))
