"""What decides a run's result: typed settings of each stage, and `RunConfig`, which joins them.

These are the values after provenance tags are stripped (see `catalog.protocols`). Field descriptions are the user's
documentation: the JSON schemas in workflow/schemas are generated from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_serializer, model_validator

from benchmark.files import value_digest

Scale = Literal["paper", "demo"]


class Settings(BaseModel):
    """Base of all settings: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    added: ClassVar[frozenset[str]] = frozenset()  # fields left out of the dump while they have their default:
    # what was made before there were such fields is still made by the same settings, and has the same digest

    @model_serializer(mode="wrap")
    def _dump(self, default: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        unset = {name for name in self.added if getattr(self, name) == type(self).model_fields[name].default}
        return {name: value for name, value in default(self).items() if name not in unset}


class Step(Settings):
    """One named operation with its parameters, e.g. an augmentation."""

    name: str = Field(description="Registered name of the operation")
    parameters: dict[str, Any] = Field(default_factory=dict, description="Its keyword arguments")


class Resampling(Settings):
    """nnU-Net's resampling in place of the linear one, and whose version's rules decide the rest of its preparation."""

    rules: Literal["1.7", "2.1", "2.8"] = Field(
        "2.8",
        description="1.7: resample, then normalise; intensities of every tenth foreground voxel; softmax goes back to "
        "the raw grid. 2.1: normalise, then resample; intensities of 10^8 voxels drawn over all cases; logits go back. "
        "Both: the largest class that has half of a voxel. 2.8: as 2.1, but the class that has most of a voxel",
    )
    image_order: Literal[0, 1, 3] = Field(3, description="Order of the spline for images")
    label_order: Literal[0, 1] = Field(1, description="1: linearly per class; 0: nearest voxel")
    score_order: Literal[0, 1, 3] = Field(1, description="Order of the spline for scores that go back to the raw grid")
    anisotropy: float | None = Field(
        3.0,
        description="Largest over smallest spacing above which the coarsest axis takes whole slices; null: never",
    )


class Preparation(Settings):
    """From verified raw cases to the prepared-case store."""

    added: ClassVar[frozenset[str]] = frozenset({"crop", "resampling", "outside"})

    spacing: tuple[float, ...] | Literal["planned", "planned_in_plane", "planned_first_stage"] | None = Field(
        None,
        description="Target voxel spacing in mm; null keeps the raw spacing. planned: nnU-Net's, from the training "
        "cases (3d_fullres); planned_in_plane: the same, the spacing between slices kept (2d); planned_first_stage: "
        "nnU-Net 1.7's stage 0, which is coarser where a patch covers less than a quarter of the median case",
    )
    orientation: str | None = Field("RAS", description="Axis codes of the prepared array; null keeps the raw axes")
    crop: Literal["nonzero"] | None = Field(
        None, description="nonzero: crop to the voxels that are not 0 in any channel, holes filled, before all else"
    )
    clip: tuple[float, float] | None = Field(None, description="Intensity window, in raw units (HU for CT)")
    normalise: Literal["unit", "zscore", "zscore_nonzero", "zscore_planned", "ct_global", "none"] = Field(
        "unit",
        description="unit: window to [0, 1]; zscore: per case and channel; zscore_planned: the same, over the voxels "
        "inside the non-zero mask where the crop takes more than a quarter of the median training case; ct_global: "
        "clip to the 0.5 and 99.5 percentiles of the training cases' foreground, z-score by its mean and deviation; "
        "none: as it is",
    )
    resampling: Resampling | None = Field(
        None, description="nnU-Net's resampling; null: linear for images, the nearest voxel for labels"
    )
    outside: Literal["background", "ignored"] = Field(
        "background",
        description="Label of unlabelled voxels outside the non-zero mask; ignored: 255, for losses that leave it out",
    )
    foreground_above: float | None = Field(
        None, description="Crop to the box of voxels above this value after normalising; null keeps the whole volume"
    )
    pad_to_patch_multiple: bool = Field(
        False, description="Enlarge the training crop to a multiple of the patch, as the released Swin SMT loader does"
    )

    @property
    def planned(self) -> bool:
        """Whether anything has to be worked out from the training cases first."""
        return isinstance(self.spacing, str) or self.normalise in ("zscore_planned", "ct_global")

    @model_validator(mode="after")
    def _fits_together(self) -> Preparation:
        if self.resampling is None:
            if self.planned or self.crop or self.outside == "ignored":
                raise ValueError("planned values, crop nonzero and outside ignored need `resampling` (nnU-Net's)")
        elif self.spacing == "planned_first_stage" and self.resampling.rules != "1.7":
            raise ValueError("planned_first_stage is a stage of nnU-Net 1.7: set resampling.rules to '1.7'")
        if self.outside == "ignored" and self.crop is None:
            raise ValueError("outside ignored needs `crop: nonzero`, whose mask it is about")
        if self.clip is not None and self.normalise in ("zscore_planned", "ct_global"):
            raise ValueError(f"normalise {self.normalise} has its own window: set clip to null")
        return self


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

    added: ClassVar[frozenset[str]] = frozenset({"restore"})

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
    restore: Literal["labels", "scores"] = Field(
        "labels",
        description="What goes back to the raw grid: labels by the nearest voxel, or the scores of all classes "
        "resampled before the highest is taken, as in nnU-Net",
    )
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

    @model_validator(mode="after")
    def _scores_can_go_back(self) -> RunConfig:
        preparation = self.preparation
        if self.inference.restore == "scores" and (
            preparation.resampling is None
            or preparation.foreground_above is not None
            or preparation.pad_to_patch_multiple
            or self.inference.method == "whole"
        ):
            raise ValueError(
                "restore: scores needs preparation.resampling, no foreground_above or pad_to_patch_multiple, and "
                "another method than whole"
            )
        return self

    @property
    def preparation_id(self) -> str:
        """Name of the prepared store this run reads: equal for runs that prepare alike."""
        patch = self.training.patch if self.preparation.pad_to_patch_multiple else None
        return value_digest([self.dataset, self.labels, self.preparation.model_dump(mode="json"), patch])

    @property
    def digest(self) -> str:
        """Configuration hash: recorded in checkpoints and in every score."""
        return value_digest(self.model_dump(mode="json"))
