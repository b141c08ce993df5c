"""How a network is trained: losses, optimiser, schedule, sampling."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from benchmark.settings.base import Settings, Step
from benchmark.settings.whole_images import BITS, SLICE_RANGE, Bits, Resize, SliceRange

Point = Literal["random", "middle"]
POINT = (
    "Where on a structure the point lies. random: any of its pixels alike; middle: the middle one of its pixels, row "
    "by row (what SAMUS evaluates with)"
)


class Loss(Settings):
    """Dice plus cross-entropy and its details."""

    added: ClassVar[frozenset[str]] = frozenset({"ignored_mass", "coarse_output"})

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
    ignored_mass: bool = Field(
        True, description="Whether what is predicted there counts in the Dice (M4oE); false: left out too (nnU-Net)"
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
    coarse_output: bool = Field(
        False, description="Whether the first output may be smaller than the labels, which then come to its size too"
    )


class PromptedLoss(Settings):
    """The loss of networks that answer a prompt with one mask, and of those that give one mask per image.

    Between them the settings give the released losses of SAM-Med2D, SAMUS, MSA, MedSAM, DeSAM and AutoSAM. The papers'
    protocols train all of these alike; `min_max` (AutoSAM) and `positive_weight` (SAMUS, MSA) are for protocols of
    one's own that train them as released.
    """

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
    quality: Literal["none", "soft_iou"] = Field(
        "none", description="What the predicted quality of a mask should be: the soft IoU of the batch"
    )
    quality_error: Literal["l1", "mse"] = Field("mse", description="How its error is measured; added with weight 1")


class Refinement(Settings):
    """Rounds that follow the first one on the same samples, each with an optimiser step: the last mask's sigmoid is
    a prompt, and points lie where it is wrong. The decoder alone learns in them (SAM-Med2D)."""

    rounds: int = Field(
        8, ge=3, description="How many; in the last, and in one that is drawn of those between the first and it, the "
        "mask is the only prompt",
    )  # fmt: skip
    points: tuple[int, ...] = Field((1, 3, 5, 9), min_length=1, description="Of which their number is drawn each round")


class Prompted(Settings):
    """Training on single masks that a point asks for: each sample is one class of an image and a point on it."""

    added: ClassVar[frozenset[str]] = frozenset({"refinement"})

    loss: PromptedLoss = PromptedLoss()
    point: Point = Field("random", description=POINT)
    refinement: Refinement | None = Field(None, description="Rounds after the first; null: one round")


class MaskedImages(Settings):
    """Masked-image modelling: what is hidden, and how its reconstruction is measured.

    `normalise_patches` is Swin-MAE's option, which its release leaves off, and which is for protocols of one's own.
    """

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
    added: ClassVar[frozenset[str]] = frozenset({"decay", "head_rate"})

    name: Literal["adamw", "adam", "sgd"]
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = Field(1e-8, gt=0, description="Adam and AdamW only: added to the root of the second moment")
    momentum: float = Field(0.0, description="SGD only")
    nesterov: bool = Field(False, description="SGD only")
    head_rate: float = Field(1.0, gt=0, description="Factor of the learning rate of what `network.head()` gives")
    decay: Literal["all", "matrices", "no_vectors"] = Field(
        "all",
        description="What weight decay acts on. matrices: parameters with more than one side longer than 1, so neither "
        "norms, biases nor mask tokens (SimMIM); no_vectors: all but norms, biases and relative position tables (timm)",
    )


class Schedule(Settings):
    added: ClassVar[frozenset[str]] = frozenset({"milestones"})

    name: Literal["constant", "warmup_cosine", "cosine", "poly", "linear", "exponential", "milestones"]
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
    power: float = Field(
        0.9,
        description="Exponent of poly; of exponential, the factor of each tick; of milestones, that at each",
    )
    milestones: tuple[float, ...] = Field((), description="Shares of the length at which the rate falls by `power`")
    total_epochs: float | None = Field(None, description="Length of the fall, if not the epochs trained")
    granularity: Literal["step", "epoch"] = Field("epoch", description="How often the learning rate changes")

    @model_validator(mode="after")
    def _ticks_fit(self) -> Schedule:
        if self.granularity == "epoch" and (self.warmup_steps or self.set_after_step):
            raise ValueError("warmup_steps and set_after_step need granularity step")
        if self.warmup_steps and self.warmup_epochs:
            raise ValueError("a warm-up is given in steps or in epochs, not in both")
        if self.name == "milestones" and not self.milestones:
            raise ValueError("the schedule milestones needs `milestones`, e.g. [0.5, 0.75]")
        return self


class Sampling(Settings):
    """How a training patch is chosen."""

    added: ClassVar[frozenset[str]] = frozenset({"margin", "structures", "box_margin", "box", "bits"})

    strategy: Literal["foreground_voxel", "foreground_class", "label_box", "whole"] = Field(
        "foreground_voxel",
        description="foreground_voxel: centre uniformly among foreground voxels (MONAI); foreground_class: first a "
        "class, then one of its voxels (nnU-Net); label_box: anywhere in the box of all labelled voxels, enlarged by "
        "`box_margin` (DoDNet); whole: the whole image, resized to the patch. An epoch is every case once; with "
        "`whole` and a 2-D patch, every slice of every volume once",
    )
    foreground_fraction: float = Field(
        0.5, ge=0, le=1, description="Share of patches centred on foreground, or drawn in the box of label_box"
    )
    box_margin: int = Field(0, ge=0, description="label_box: voxels by which the box is enlarged on each side")
    slices: Literal["all", "foreground"] = Field(
        "all", description="Which slices of volumes an epoch of `whole` is made of: all, or those with any label"
    )
    slice_range: SliceRange = Field("stored", description=f"Intensities of each image of `whole`. {SLICE_RANGE}")
    bits: Bits | None = Field(None, description=f"Intensities of each image of `whole`. {BITS}")
    resize: Resize = Field(Resize(), description="How images of `whole` come to the patch")
    margin: float | None = Field(
        None,
        ge=0,
        description="mm by which the box of all labelled voxels is enlarged on each side, to be the whole volume of "
        "`whole` with a 3-D patch; null: the volume as it is",
    )
    box: Literal["all", "around_labels"] = Field(
        "all",
        description="What a sample of `whole` with a 3-D patch is of its volume. around_labels: a random box that goes "
        "half of the labels' extent beyond them at least, of the volume without its border of one value (MedicalNet)",
    )
    structures: Literal["each", "merged"] = Field(
        "each", description="merged: all structures are one class, as the first stage of two learns them"
    )


class Selection(Settings):
    """Weights of the lowest validation loss, as M4oE's release counts it, in place of the last ones."""

    interval: int = Field(2, gt=0, description="Epochs from one look at the validation loss to the next, from epoch 0")
    patience: int = Field(7, gt=0, description="Looks without a lower loss after which the training ends")
    dice: float = Field(0.6, description="Weight of the soft Dice term in it")
    cross_entropy: float = Field(0.4, description="Weight of the cross-entropy term in it")


class Training(Settings):
    """How a run is trained.

    `synchronise_batch_norm` and precision bf16-mixed are for protocols of one's own: no paper says that it has either.
    """

    added: ClassVar[frozenset[str]] = frozenset({"objective", "masked_images", "prompted", "selection"})

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
    selection: Selection | None = Field(None, description="Which weights a training ends with; null: the last")
    synchronise_batch_norm: bool = Field(False, description="Batch statistics over all processes")
    find_unused_parameters: bool = Field(False, description="Needed where some parameters get no gradient")
    devices: int = Field(1, gt=0, description="GPUs the protocol trains on")
    objective: Literal["segmentation", "masked_images", "prompted"] = Field(
        "segmentation", description="What is learnt: labels, the hidden parts of images, or masks that a point asks for"
    )
    masked_images: MaskedImages | None = Field(None, description="What is hidden; of that objective only")
    prompted: Prompted | None = Field(None, description="How points are drawn, and the loss; of that objective only")

    @model_validator(mode="after")
    def _has_what_its_objective_needs(self) -> Training:
        for objective in ("masked_images", "prompted"):
            if (self.objective == objective) != (getattr(self, objective) is not None):
                raise ValueError(f"{objective} belongs to the objective {objective}, and only to it")
        if self.selection is not None and self.objective != "segmentation":
            raise ValueError("selection is by the loss of labels: the objective has to be segmentation")
        if self.sampling.margin is not None and (len(self.patch) != 3 or self.sampling.strategy != "whole"):
            raise ValueError("sampling.margin is of whole volumes: a patch of three sides, sampling.strategy whole")
        if self.sampling.box_margin and self.sampling.strategy != "label_box":
            raise ValueError("sampling.box_margin is of the box of labels: sampling.strategy label_box")
        if self.sampling.box != "all" and (len(self.patch) != 3 or self.sampling.strategy != "whole"):
            raise ValueError("sampling.box is of whole volumes: a patch of three sides, sampling.strategy whole")
        if self.sampling.box != "all" and self.sampling.margin is not None:
            raise ValueError("sampling.box and sampling.margin each say what of a volume is seen: choose one")
        if self.sampling.strategy != "whole" and (self.sampling.bits or self.sampling.resize.padding):
            raise ValueError("sampling.bits and sampling.resize.padding are of whole images: sampling.strategy whole")
        if self.objective != "prompted" and len(self.sampling.resize.padding or ()) > 1:
            raise ValueError("sampling.resize.padding with a value per channel repeats grey images: objective prompted")
        if self.objective == "prompted" and (len(self.patch) != 2 or self.sampling.strategy != "whole"):
            raise ValueError("the objective prompted needs whole slices: a patch of two sides, sampling.strategy whole")
        return self

    def classes(self, structures: int) -> int:
        """Classes that are learnt of a dataset with so many structures, background included."""
        return 2 if self.sampling.structures == "merged" else structures + 1

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
