"""How whole images, and whole slices of volumes, become what a network sees: in training and in prediction."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from benchmark.settings.base import Settings

SliceRange = Literal["stored", "unit", "zscore", "zscore_positive"]
SLICE_RANGE = (
    "unit: rescaled to [0, 1] by its own minimum and maximum; zscore: at the network's size, each channel less its "
    "mean and over its deviation; zscore_positive: likewise by its voxels above 0, and noise of the standard normal "
    "distribution where it is 0 (MedicalNet)"
)

Bits = Literal[8]
BITS = (
    "8: values from 0 to 1 become those of a picture of 8 bits, the nearest of 0, 1/255 … 1, before the image is "
    "resized; null: as they are"
)


class Resize(Settings):
    """How a whole image comes to the network's size, and labels along with it (at inference: back)."""

    added: ClassVar[frozenset[str]] = frozenset({"padding"})

    image: Literal["linear", "floor", "cubic", "zoom0", "zoom1", "zoom3"] = Field(
        "linear",
        description="linear: pixel areas cover the same field (torch bilinear, align_corners false); floor: one pixel, "
        "positions rounded down (nearest in torch and OpenCV); cubic: areas as in linear, by a spline of order 3 "
        "(skimage.transform.resize, edges continued); zoom<order>: a spline of that order, the centres of the corner "
        "pixels stay (scipy.ndimage.zoom)",
    )
    labels: Literal["nearest", "floor", "zoom0"] = Field(
        "nearest",
        description="nearest: pixel centres of the same field; floor: torch's `nearest`, which rounds positions down; "
        "zoom0: the nearest pixel with the corner centres kept (scipy.ndimage.zoom, order 0)",
    )
    through: tuple[int, ...] | None = Field(
        None, description="Size that an image is brought to before the network's (SAMed: 224 before 512); null: none"
    )
    padding: tuple[float, ...] | None = Field(
        None,
        min_length=1,
        description="An image all of whose sides are smaller than the network's is not resized but centred among "
        "pixels of this value, the smaller half of an odd number before it, and what comes back is cut out: one value, "
        "or one for each channel, a grey image being repeated (SAM-Med2D); null: small images are resized like others",
    )

    @model_validator(mode="after")
    def _has_one_way_for_small_images(self) -> Resize:
        if self.padding is not None and self.through is not None:
            raise ValueError("padding is of images that are not resized, and `through` resizes them: choose one")
        return self

    @property
    def keeps_corners(self) -> bool:
        """Whether the corner pixels of images keep their centres; else images of all sizes cover the same field."""
        return self.image.startswith("zoom")
