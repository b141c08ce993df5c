"""From verified raw cases to the prepared-case store."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from benchmark.settings.base import Settings


class Resampling(Settings):
    """nnU-Net's resampling in place of the linear one, and whose version's rules decide the rest of its preparation.

    The papers have nnU-Net's own orders and anisotropy throughout; other ones are for protocols of one's own, which may
    follow plans.json of another planner.
    """

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
    normalise: Literal["unit", "symmetric", "zscore", "zscore_planned", "ct_global", "none"] = Field(
        "unit",
        description="unit: window to [0, 1]; symmetric: to [-1, 1]; zscore: per case and channel; zscore_planned: the "
        "same, over the voxels inside the non-zero mask where the crop takes more than a quarter of the median case of "
        "training; ct_global: clip to the 0.5 and 99.5 percentiles of the training cases' foreground, z-score by its "
        "mean and deviation; none: as it is",
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
