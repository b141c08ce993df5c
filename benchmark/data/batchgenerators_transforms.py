"""Transforms of batchgenerators (the library of nnU-Net v1), with its laws and its order of draws.

Images are float32 [channels, *spatial] and labels uint8 [label maps, *spatial]. Ranges around 1 are drawn as it does:
below and above 1 with probability 1/2 each.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field
from scipy import ndimage

from benchmark.data.augmentation_step import Patch
from benchmark.data.resampling import resample_image
from benchmark.errors import InputError
from benchmark.settings import Settings

EPSILON = 1e-7  # added to the range of a channel before gamma
SMALLEST_DEVIATION = 1e-8


def _rises(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] > span[1]:
        raise ValueError(f"an empty range: {span[0]} is above {span[1]}")
    return span


def _reaches_one(span: tuple[float, float]) -> tuple[float, float]:
    if span[1] < 1:
        raise ValueError(f"a range around 1 ends below it: {span[1]}")
    return span


Span = Annotated[tuple[float, float], AfterValidator(_rises)]
AroundOne = Annotated[Span, AfterValidator(_reaches_one)]


def around_one(span: tuple[float, float], generator: np.random.Generator) -> float:
    """A number below or above 1 with probability 1/2 each, uniform there; above only, where the range begins at 1."""
    if generator.random() < 0.5 and span[0] < 1:
        return generator.uniform(span[0], 1)
    return generator.uniform(max(span[0], 1), span[1])


class Transform(Settings):
    """Base of all transforms."""

    def check(self, sides: int) -> None:
        """Refuse images with so many spatial axes, with an InputError."""

    def act(self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Patch:
        """image [channels, *spatial] and labels [label maps, *spatial] to the same of equal shape and type."""
        raise NotImplementedError


class Channelwise(Transform):
    """Something that is done to samples with `probability`, and to each of their channels by itself."""

    probability: float = Field(ge=0, le=1, description="Share of the samples that are changed")
    channel_probability: float = Field(1.0, ge=0, le=1, description="Share of the channels of such a sample that are")

    def act(self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Patch:
        if generator.random() >= self.probability:
            return image, labels
        channels = [
            self.change(channel, generator) if generator.random() < self.channel_probability else channel
            for channel in image
        ]
        return np.stack(channels).astype(image.dtype, copy=False), labels

    def change(self, channel: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """A channel [*spatial] changed, as a new array of the same shape."""
        raise NotImplementedError


class Noise(Transform):
    """Add Gaussian noise; the deviation is drawn once per sample (batchgenerators calls it a variance)."""

    name: Literal["noise"]
    probability: float = Field(0.1, ge=0, le=1, description="Share of the samples that are changed")
    deviation: Span = Field((0.0, 0.1), description="Range of the standard deviation")

    def act(self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Patch:
        if generator.random() >= self.probability:
            return image, labels
        deviation = generator.uniform(*self.deviation)
        return (image + generator.normal(0.0, deviation, size=image.shape)).astype(image.dtype, copy=False), labels


class Blur(Channelwise):
    """Gaussian blur, one width for all axes of a channel, reflected at the border."""

    name: Literal["blur"]
    probability: float = Field(0.2, ge=0, le=1)
    channel_probability: float = Field(0.5, ge=0, le=1)
    width: Span = Field((0.5, 1.0), description="Range of the Gaussian's sigma in voxels")

    def change(self, channel: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return ndimage.gaussian_filter(channel, generator.uniform(*self.width))


class MultipliedBrightness(Channelwise):
    """Multiply a channel by one number."""

    name: Literal["multiplied_brightness"]
    probability: float = Field(0.15, ge=0, le=1)
    factor: Span = Field((0.75, 1.25), description="Range of the number, uniform")

    def change(self, channel: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return channel * generator.uniform(*self.factor)


class AddedBrightness(Channelwise):
    """Add one number to a channel."""

    name: Literal["added_brightness"]
    probability: float = Field(0.15, ge=0, le=1)
    channel_probability: float = Field(0.5, ge=0, le=1)
    mean: float = Field(0.0, description="Mean of the normal distribution that the number is drawn from")
    deviation: float = Field(0.1, ge=0, description="Its standard deviation")

    def change(self, channel: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return channel + generator.normal(self.mean, self.deviation)


class Contrast(Channelwise):
    """Scale a channel about its mean, and cut what then lies outside of its range."""

    name: Literal["contrast"]
    probability: float = Field(0.15, ge=0, le=1)
    factor: AroundOne = Field((0.75, 1.25), description="Range of the scale, around 1")

    def change(self, channel: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        factor, mean = around_one(self.factor, generator), channel.mean()
        return np.clip((channel - mean) * factor + mean, channel.min(), channel.max())


class LowResolution(Channelwise):
    """Fewer voxels by the nearest one, and back by a cubic spline."""

    name: Literal["low_resolution"]
    probability: float = Field(0.25, ge=0, le=1)
    channel_probability: float = Field(0.5, ge=0, le=1)
    scale: Span = Field((0.5, 1.0), description="Range of the factor of all sides, uniform")
    kept_axes: tuple[int, ...] = Field((), description="Spatial axes that keep all their voxels")

    def check(self, sides: int) -> None:
        if any(not 0 <= axis < sides for axis in self.kept_axes):
            raise InputError("low_resolution cannot keep that axis", expected=f"< {sides}", found=self.kept_axes)

    def change(self, channel: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        scale = generator.uniform(*self.scale)
        fewer = [
            side if axis in self.kept_axes else max(1, round(side * scale)) for axis, side in enumerate(channel.shape)
        ]
        return resample_image(resample_image(channel, fewer, order=0), channel.shape, order=3)


class Gamma(Channelwise):
    """Raise a channel, brought to [0, 1] by its own range, to a power; then give it its mean and deviation again."""

    name: Literal["gamma"]
    probability: float = Field(0.3, ge=0, le=1)
    exponent: AroundOne = Field((0.7, 1.5), description="Range of the exponent, around 1")
    inverted: bool = Field(False, description="Of the channel with its sign turned, so that it acts on bright voxels")
    keep_statistics: bool = Field(True, description="Whether mean and deviation of the channel stay")

    def change(self, channel: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        sign = -1 if self.inverted else 1
        before = sign * channel
        lowest, exponent = before.min(), around_one(self.exponent, generator)
        reach = float(before.max() - lowest + EPSILON)
        after = np.power((before - lowest) / reach, exponent) * reach + lowest
        if self.keep_statistics:
            after = after - after.mean()
            after = after / (after.std() + SMALLEST_DEVIATION) * before.std() + before.mean()
        return sign * after


class InPlane(Transform):
    """Elastic deformation, rotation and scaling about the centre of images with two axes: one map for all channels.

    Images are read by a cubic spline, 0 outside. A pixel gets the label whose indicator, read linearly, has at least
    half of it, the highest of two; background where none has, and outside (batchgenerators 0.25.0 and before).
    """

    name: Literal["in_plane"]
    elastic_probability: float = Field(0.2, ge=0, le=1)
    displacement: Span = Field((0.0, 200.0), description="Range of the factor (alpha) of the smoothed noise in [-1, 1)")
    smoothness: Span = Field((9.0, 13.0), description="Range of the Gaussian's sigma in pixels that smoothes it")
    rotation_probability: float = Field(0.2, ge=0, le=1)
    degrees: float = Field(180.0, ge=0, description="Angles are uniform between minus and plus this")
    scaling_probability: float = Field(0.2, ge=0, le=1)
    scale: AroundOne = Field(
        (0.85, 1.25), description="Range, around 1; above 1 an image shows more, at a smaller size"
    )

    def check(self, sides: int) -> None:
        if sides != 2:
            raise InputError(
                "in_plane moves images with two axes",
                expected="a patch of two sides, or of three with `slices`",
                found=f"{sides} axes",
            )

    def act(self, image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Patch:
        places = self.places(image.shape[1:], generator)
        if places is None:
            return image, labels
        moved = [ndimage.map_coordinates(channel.astype(float), places, order=3, mode="constant") for channel in image]
        return np.stack(moved).astype(image.dtype), np.stack([read_labels(one, places) for one in labels])

    def places(self, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray | None:
        """Where each pixel of an image of `shape` is read: [2, *shape] in pixels; None: where it is."""
        centre = (np.array(shape).reshape(2, 1, 1) - 1) / 2
        places, moved = np.indices(shape) - centre, False
        if generator.random() < self.elastic_probability:
            factor, width = generator.uniform(*self.displacement), generator.uniform(*self.smoothness)
            noise = [generator.random(shape) * 2 - 1 for _ in shape]
            places += np.stack([ndimage.gaussian_filter(one, width, mode="constant") for one in noise]) * factor
            moved = True
        if generator.random() < self.rotation_probability:
            angle = np.deg2rad(generator.uniform(-self.degrees, self.degrees))
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            places, moved = np.tensordot(turn, places, axes=1), True
        if generator.random() < self.scaling_probability:
            places, moved = places * around_one(self.scale, generator), True
        return places + centre if moved else None


def read_labels(labels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A label map [H, W] read at `places` [2, h, w]: uint8 [h, w], as `InPlane` says."""
    read = np.zeros(places.shape[1:], labels.dtype)
    for number in np.unique(labels):
        if number:
            indicator = (labels == number).astype(float)
            read[ndimage.map_coordinates(indicator, places, order=1, mode="constant") >= 0.5] = number
    return read


AnyTransform = Annotated[
    Noise | Blur | MultipliedBrightness | AddedBrightness | Contrast | LowResolution | Gamma | InPlane,
    Field(discriminator="name"),
]
