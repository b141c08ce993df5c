"""How a trained network labels cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from benchmark.settings.base import Settings
from benchmark.settings.training import POINT, Point
from benchmark.settings.whole_images import BITS, SLICE_RANGE, Bits, Resize, SliceRange

ENLARGED = {("whole", "logits"), ("whole", "probabilities"), ("prompted", "logits")}  # methods, and what comes back


class FirstStage(Settings):
    """How the first of two stages finds the box that the second one labels."""

    patch: tuple[int, int, int] = Field(description="Size that the first stage sees the whole volume at")
    margin: float = Field(ge=0, description="mm by which the box of the largest part that it finds is enlarged")


class Inference(Settings):
    """How a trained network labels a case."""

    added: ClassVar[frozenset[str]] = frozenset(
        {"restore", "network_grid", "keep_largest", "point", "first_stage", "enlarged", "drop_up_to", "bits"}
    )

    method: Literal["sliding_window", "slices", "whole", "prompted"] = Field(
        "sliding_window",
        description="volumes by sliding window, volumes slice by slice, whole resized images, or these by a network "
        "that is told one point of every class that the reference shows in a slice",
    )
    point: Point = Field("random", description=f"prompted only. {POINT}")
    patch: tuple[int, ...] | None = Field(None, description="Window size; null: the training patch")
    slice_axis: int = Field(2, ge=0, le=2, description="Axis of the prepared volume that 2-D networks are moved along")
    overlap: float = Field(0.5, ge=0, lt=1)
    weighting: Literal["gaussian", "constant"] = "gaussian"
    sigma_scale: float = Field(0.125, description="Gaussian sigma as a share of the window")
    window_batch: int = Field(1, gt=0, description="Windows, or whole slices, per forward pass")
    slice_batches: Literal["plain", "e_sam"] = Field(
        "plain",
        description="How whole slices share forward passes. plain: in order, fewer in the last one; e_sam: the last "
        "one holds the last window_batch slices again, and as E-SAM's release counts, a volume of n slices with "
        "window_batch/2 < n < window_batch keeps only its last (window_batch - n)",
    )
    slice_range: SliceRange = Field("stored", description=f"Intensities of each whole image. {SLICE_RANGE}")
    bits: Bits | None = Field(None, description=f"Intensities of each whole image. {BITS}")
    resize: Resize = Field(Resize(), description="How whole images come to the patch, and their labels back")
    enlarged: Literal["labels", "logits", "probabilities"] = Field(
        "labels",
        description="What of a whole volume comes back from the network's size: labels by `resize.labels`, or the "
        "logits or the probabilities of each class, linearly by the convention of `resize.image`, before the highest "
        "is taken; of prompted slices labels, or the logits of each mask",
    )
    first_stage: FirstStage | None = Field(
        None,
        description="Of networks with a `first_stage`: that one finds the foreground in the whole volume, and the "
        "network labels its box alone; null: one stage",
    )
    network_grid: bool = Field(
        False,
        description="Also keep labels as large as the network sees whole images, for conventions that score there",
    )
    mirror: bool = Field(False, description="Average over mirrored copies (test-time augmentation)")
    restore: Literal["labels", "scores"] = Field(
        "labels",
        description="What goes back to the raw grid: labels by the nearest voxel, or the scores of all classes "
        "resampled before the highest is taken, as in nnU-Net",
    )
    keep_largest: Literal["all"] | tuple[str, ...] = Field(
        (), description="Structures of which only the largest connected part is kept, on the raw grid"
    )
    drop_up_to: dict[str, int] = Field(
        {},
        description="Structures of which connected parts of at most so many voxels are dropped, on the raw grid and "
        "after `keep_largest`",
    )
    splits: tuple[str, ...] = Field(("test",), description="Which cases are predicted: any of train, val, test")
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"

    @model_validator(mode="after")
    def _has_a_network_grid(self) -> Inference:
        if self.network_grid and self.method not in ("whole", "prompted"):
            raise ValueError("network_grid needs the method whole or prompted")
        if self.first_stage is not None and self.method != "whole":
            raise ValueError("first_stage belongs to the method whole")
        if self.enlarged != "labels" and (self.method, self.enlarged) not in ENLARGED:
            raise ValueError("enlarged belongs to the method whole, and its logits to the method prompted as well")
        if (self.first_stage is not None or self.enlarged != "labels") and self.network_grid:
            raise ValueError("labels of a box, or of enlarged scores, are not on a grid of the network: network_grid")
        if self.mirror and self.method == "prompted":
            raise ValueError("the method prompted cannot mirror: points would have to be mirrored too")
        return self

    @model_validator(mode="after")
    def _sees_whole_images(self) -> Inference:
        padding = self.resize.padding
        if (self.bits or padding) and self.method not in ("whole", "prompted"):
            raise ValueError("bits and resize.padding are of whole images: the method whole or prompted")
        if padding and (self.network_grid or self.first_stage is not None):
            raise ValueError("resize.padding goes neither with network_grid, where references are resized and not "
                             "padded, nor with first_stage")  # fmt: skip
        if len(padding or ()) > 1 and self.method != "prompted":
            raise ValueError("resize.padding with a value per channel repeats grey images: the method prompted")
        return self

    def cases(self, split: Mapping[str, Any]) -> list[str]:
        """Ids of the cases that are predicted and scored, in the order of split.json's content."""
        return [case for part in self.splits for case in split[part]]


class Features(Settings):
    """How the pictures of a network's features are made."""

    slices: int = Field(4, gt=0, description="Test cases of which the middle slice is shown")
    reduction: Literal["component", "mean"] = Field(
        "component", description="How channels become one picture: first principal component over the places, or mean"
    )

    @property
    def options(self) -> str:
        """The same, as options of the command."""
        return f"--slices {self.slices} --reduction {self.reduction}"


class ReceptiveField(Settings):
    """How the map of a network's receptive field is made."""

    samples: int = Field(1000, gt=0, description="Patches to average over")
    contribution: Literal["positive", "absolute"] = Field("positive", description="Which part of the gradient")

    @property
    def options(self) -> str:
        """The same, as options of the command."""
        return f"--samples {self.samples} --contribution {self.contribution}"
