"""What decides a run's result: typed settings of each stage, and `RunConfig`, which joins them.

These are the values after provenance tags are stripped (see `catalog.provenance`). Field descriptions are the user's
documentation: the JSON schemas in workflow/schemas are generated from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_serializer, model_validator

from benchmark.files import value_digest

Scale = Literal["paper", "pilot", "demo"]
RELEASED = "released"  # in place of a training: the network's released weights are scored as they are


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
        description="Largest over smallest spacing above which the coarsest axis takes the nearest slice; null: never",
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
    orientation: str | None = Field(
        "RAS",
        description="Axis codes of the prepared array; null keeps the raw axes; axial: the same, but the last axis of "
        "coronal and sagittal arrays becomes the one along the body",
    )
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
        description="Label of unlabelled voxels outside the non-zero mask; ignored: 255, for losses that leave them "
        "out",
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

    def shortened(self, share: float) -> Training:
        """The same recipe in a share of the steps: every length that is counted in epochs shrinks alike.

        A share of less than one epoch is one epoch; warm-up and frozen epochs stay a part of the whole.
        """
        schedule = self.schedule.model_copy(
            update={
                "warmup_epochs": self.schedule.warmup_epochs * share,
                "total_epochs": self.schedule.total_epochs and self.schedule.total_epochs * share,
            }
        )
        lengths = {
            "epochs": max(1, round(self.epochs * share)),
            "freeze_epochs": round(self.freeze_epochs * share),
            "validation_interval": max(1, round(self.validation_interval * share)),
        }
        return self.model_copy(update={**lengths, "schedule": schedule})


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


class Beginning(Settings):
    """Trained weights that another training begins from: an edge of the graph."""

    training: str = Field(description="Id of the training that gives the weights")
    part: str = Field(description="Which part of the network takes them, by the network's own name for it")


class PreparedData(Settings):
    """One prepared store, as a training or a run reads it."""

    dataset: str
    labels: tuple[str, ...] | None = None
    preparation: Preparation
    patch: tuple[int, ...] | None = Field(None, description="Training patch, where the preparation depends on it")

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
    def id(self) -> str:
        """Name of the prepared store: equal for what is prepared alike."""
        return value_digest([self.dataset, self.labels, self.preparation.model_dump(mode="json"), self.patch])


class RunConfig(Settings):
    """Everything that decides a run's result, resolved to one scale.

    A training is described by the same type: `run` is then its id. Where one training serves one run, both are equal.
    """

    run: str = Field(description="<paper>/<protocol>/<model>/seed<k>")
    scale: Scale
    dataset: str
    labels: tuple[str, ...] | None = Field(None, description="Restrict to these structures, numbered 1… in this order")
    trained_by: str = Field("", description="Id of the training whose weights these are; empty: the run's own")
    begins_from: tuple[Beginning, ...] = Field((), description="Trainings whose weights the network begins from")
    joint: tuple[PreparedData, ...] = Field((), description="Stores of a training over several; empty: the run's own")
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
    def training_id(self) -> str | None:
        """Id of the training whose weights the run uses; None where it uses released weights as they are."""
        return None if self.trained_by == RELEASED else self.trained_by or self.run

    @property
    def store(self) -> PreparedData:
        """What the run is predicted and scored on."""
        patch = self.training.patch if self.preparation.pad_to_patch_multiple else None
        return PreparedData(dataset=self.dataset, labels=self.labels, preparation=self.preparation, patch=patch)

    @property
    def stores(self) -> tuple[PreparedData, ...]:
        """What a training reads, in the order of the network's heads."""
        return self.joint or (self.store,)

    @property
    def preparation_id(self) -> str:
        """Name of the prepared store this run reads: equal for runs that prepare alike."""
        return self.store.id

    @property
    def digest(self) -> str:
        """Configuration hash: recorded in checkpoints and in every score."""
        return value_digest(self.model_dump(mode="json"))
