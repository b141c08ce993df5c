"""What decides a run's result: typed settings of each stage, and `RunConfig`, which joins them.

These are the values after provenance tags are stripped (see `catalog.protocols`). Field descriptions are the user's
documentation: the JSON schemas in workflow/schemas are generated from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

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
    orientation: str | None = Field("RAS", description="Axis codes of the prepared array; null keeps the raw axes")
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
    ignore: int | None = Field(
        None, description="Label without a class: left out of the cross-entropy, without truth in the Dice"
    )
    deep_supervision: tuple[float, ...] | None = Field(
        None, description="Weights of the outputs, full resolution first; null: single output"
    )
    rising: tuple[float, float] | None = Field(
        None,
        description="(start, rate): two outputs whose weights change by epoch, start^(rate^epoch) and the rest (H-SAM)",
    )
    labels_at_outputs: Literal["nearest", "zoom0"] = Field(
        "nearest", description="How labels come to smaller outputs, as in `resize`"
    )


class PromptedLoss(Settings):
    """The loss of networks that answer a prompt with one mask, and of those that give one mask per image."""

    probability: Literal["sigmoid", "min_max"] = Field(
        "sigmoid", description="From logits to probabilities; min_max: each image's own range becomes [0, 1]"
    )
    dice: float = Field(1.0, description="Weight of the soft Dice term")
    dice_over: Literal["mask", "batch"] = Field("mask", description="One Dice per mask, or one of all voxels together")
    squared_denominator: bool = Field(False, description="Squares in the denominator of the soft Dice")
    smooth_numerator: float = Field(1e-5, description="Added to the numerator 2 · intersection")
    smooth_denominator: float = Field(1e-5, description="Added to the denominator")
    cross_entropy: float = Field(1.0, description="Weight of the binary cross-entropy term")
    positive_weight: float = Field(1.0, gt=0, description="Weight of foreground voxels in it; sigmoid only")
    focal: float = Field(0.0, description="Weight of the focal term")
    focal_alpha: float = Field(0.25, description="Share of the foreground voxels in it")
    focal_gamma: float = Field(2.0, description="Exponent by which it passes over what is right already")
    quality: Literal["none", "soft_iou", "given"] = Field(
        "none", description="What the predicted quality of a mask should be: soft IoU of the batch, or given numbers"
    )
    quality_error: Literal["l1", "mse"] = Field("mse", description="How its error is measured; added with weight 1")


class MaskedImages(Settings):
    """Masked-image modelling: what is hidden, and how its reconstruction is measured."""

    masking: Literal["cells", "blocks"] = Field(
        description="cells: a permutation of cells, the share rounded up is masked (SimMIM); blocks: the blocks with "
        "the least noise stay, their share rounded down (Swin-MAE)"
    )
    ratio: float = Field(gt=0, lt=1, description="Share that is masked")
    cell: int = Field(gt=0, description="Side in pixels of what is masked as one")
    token: int = Field(gt=0, description="Side in pixels of the patches of the network's first layer")
    error: Literal["l1", "mse"] = Field(description="l1: per masked value; mse: per patch, then over masked patches")
    normalise_patches: bool = Field(False, description="mse only: patches of the image lose their mean and variance")


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
    warmup_steps: int = Field(0, ge=0, description="The same in optimiser steps, for granularity step")
    warmup_start: float = Field(0.0, description="Learning rate at step 0 of the warm-up")
    warmup_end: Literal["last", "after"] = Field(
        "last", description="Whether the full rate is reached at the last tick of the warm-up, or at the first after it"
    )
    fall: Literal["remaining", "whole", "hidden"] = Field(
        "remaining",
        description="remaining: over the ticks that the warm-up leaves; whole: over all ticks, begun after the warm-up "
        "and so cut off at the end; hidden: over all ticks, begun at tick 0 and covered by the warm-up",
    )
    set_after_step: bool = Field(
        False, description="The rate is written after each optimiser step: step 1 repeats step 0, all are one step late"
    )
    minimum: float = Field(0.0, description="Learning rate at the end of a cosine or linear fall")
    power: float = Field(0.9, description="Exponent of poly")
    total_epochs: float | None = Field(None, description="Length of the fall, if not the epochs trained")
    granularity: Literal["step", "epoch"] = Field("epoch", description="How often the learning rate changes")

    @model_validator(mode="after")
    def _ticks_fit(self) -> Schedule:
        if self.granularity == "epoch" and (self.warmup_steps or self.set_after_step):
            raise ValueError("warmup_steps and set_after_step need granularity step")
        if self.warmup_steps and self.warmup_epochs:
            raise ValueError("a warm-up is given in steps or in epochs, not in both")
        return self


class Resize(Settings):
    """How a whole image comes to the network's size, and labels along with it (at inference: back)."""

    image: Literal["linear", "zoom0", "zoom1", "zoom3"] = Field(
        "linear",
        description="linear: pixel areas cover the same field (torch bilinear, align_corners false); zoom<order>: a "
        "spline of that order, the centres of the corner pixels stay (scipy.ndimage.zoom)",
    )
    labels: Literal["nearest", "floor", "zoom0"] = Field(
        "nearest",
        description="nearest: pixel centres of the same field; floor: torch's `nearest`, which rounds positions down; "
        "zoom0: the nearest pixel with the corner centres kept (scipy.ndimage.zoom, order 0)",
    )
    through: tuple[int, ...] | None = Field(
        None, description="Size that an image is brought to before the network's (SAMed: 224 before 512); null: none"
    )


class Sampling(Settings):
    """How a training patch is chosen."""

    strategy: Literal["foreground_voxel", "foreground_class", "whole"] = Field(
        "foreground_voxel",
        description="foreground_voxel: centre uniformly among foreground voxels (MONAI); foreground_class: first a "
        "class, then one of its voxels (nnU-Net); whole: the whole image, resized to the patch. An epoch is every case "
        "once; with `whole` and a 2-D patch, every slice of every volume once",
    )
    foreground_fraction: float = Field(0.5, ge=0, le=1, description="Share of patches centred on foreground")
    slices: Literal["all", "foreground"] = Field(
        "all", description="Which slices of volumes an epoch of `whole` is made of: all, or those with any label"
    )
    slice_range: Literal["stored", "unit"] = Field(
        "stored", description="unit: each image of `whole` is rescaled to [0, 1] by its own minimum and maximum"
    )
    resize: Resize = Field(Resize(), description="How images of `whole` come to the patch")


class Training(Settings):
    """How a run is trained."""

    patch: tuple[int, ...] = Field(description="Patch size in voxels of the prepared store")
    batch: int = Field(gt=0, description="Global batch: samples per optimiser step over all processes")
    epochs: int = Field(gt=0)
    iterations_per_epoch: int | None = Field(None, description="Optimiser steps per epoch; null: every sample once")
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

    def counts_slices(self, volumes: bool) -> bool:
        """Whether an epoch is made of slices, and not of cases: a 2-D network that sees whole slices of volumes."""
        return volumes and len(self.patch) == 2 and self.sampling.strategy == "whole"

    def steps_per_epoch(self, samples: int) -> int:
        """Optimiser steps in one epoch of `samples` cases or slices (the last batch is filled up, none is dropped)."""
        return self.iterations_per_epoch or -(-samples // self.batch)

    def total_steps(self, samples: int) -> int:
        return self.epochs * self.steps_per_epoch(samples)


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
    window_batch: int = Field(1, gt=0, description="Windows, or whole slices, per forward pass")
    slice_batches: Literal["plain", "filled", "e_sam"] = Field(
        "plain",
        description="How whole slices share forward passes. plain: in order, fewer in the last one; filled: the last "
        "one holds the last window_batch slices again; e_sam: as filled, but as E-SAM's release counts, a volume of n "
        "slices with window_batch/2 < n < window_batch keeps only its last (window_batch - n)",
    )
    slice_range: Literal["stored", "unit"] = Field(
        "stored", description="unit: each whole image is rescaled to [0, 1] by its own minimum and maximum"
    )
    resize: Resize = Field(Resize(), description="How whole images come to the patch, and their labels back")
    network_grid: bool = Field(
        False,
        description="Also keep labels as large as the network sees whole images, for conventions that score there",
    )
    mirror: bool = Field(False, description="Average over mirrored copies (test-time augmentation)")
    splits: tuple[str, ...] = Field(("test",), description="Which cases are predicted: any of train, val, test")
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"

    @model_validator(mode="after")
    def _has_a_network_grid(self) -> Inference:
        if self.network_grid and self.method != "whole":
            raise ValueError("network_grid needs the method whole")
        return self

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
    def planes(self) -> int | None:
        """Axis along which slices of volumes are stored one by one, for 2-D networks; None: volumes lie in cubes."""
        return self.inference.slice_axis if len(self.training.patch) == 2 else None

    @property
    def preparation_id(self) -> str:
        """Name of the prepared store this run reads: equal for runs that prepare alike."""
        patch = self.training.patch if self.preparation.pad_to_patch_multiple else None
        preparation = self.preparation.model_dump(mode="json")
        return value_digest([self.dataset, self.labels, preparation, patch, self.planes])

    @property
    def digest(self) -> str:
        """Configuration hash: recorded in checkpoints and in every score."""
        return value_digest(self.model_dump(mode="json"))
