"""Intensities of one case: windows and z-scores, by itself or by what the training cases have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmark.data.fingerprint import Intensities
from benchmark.settings import Preparation

SMALLEST_DEVIATION = 1e-8


def normalise(image: np.ndarray, preparation: Preparation) -> None:
    """Clip and normalise float32 [C, *spatial] in place.

    `unit` maps the window (without one: each channel's own minimum and maximum) to [0, 1], `symmetric` to [-1, 1];
    `zscore` subtracts mean and divides by standard deviation per channel. A constant channel becomes 0.
    """
    if preparation.clip is not None:
        np.clip(image, *preparation.clip, out=image)
    if preparation.normalise == "none":
        return
    for channel in image:
        if preparation.normalise in ("unit", "symmetric"):
            low, high = preparation.clip or (float(channel.min()), float(channel.max()))
            offset, scale = low, high - low
            if preparation.normalise == "symmetric":
                offset, scale = (low + high) / 2, scale / 2
        else:
            offset, scale = float(channel.mean()), float(channel.std())
        np.subtract(channel, np.float32(offset), out=channel)
        np.divide(channel, np.float32(scale or 1.0), out=channel)


def normalise_planned(
    image: np.ndarray, inside: np.ndarray | None, preparation: Preparation, intensities: Sequence[Intensities]
) -> None:
    """Normalise float32 [C, a, b, c] in place as nnU-Net does: `ct_global` or `zscore_planned`.

    A constant channel becomes 0, and so does what lies outside the mask under nnU-Net 1.7's rules; under the later ones
    it stays as it is, which is 0 too, up to the labelled voxels there.

    Args:
        inside: bool [a, b, c]: the voxels that `zscore_planned` is about; None: all.
        intensities: of each channel, for `ct_global`.
    """
    for number, channel in enumerate(image):
        if preparation.normalise == "ct_global":
            known = intensities[number]
            np.clip(channel, known.percentile_00_5, known.percentile_99_5, out=channel)
            channel -= known.mean
            channel /= max(known.std, SMALLEST_DEVIATION)
        elif inside is None:
            _standardise(channel)
        else:
            values = channel[inside]
            _standardise(values)
            channel[inside] = values
            if preparation.resampling is not None and preparation.resampling.rules == "1.7":
                channel[~inside] = 0


def _standardise(values: np.ndarray) -> None:
    """z-score in place; mean and deviation in float32, as nnU-Net has them."""
    if not values.size or values.min() == values.max():
        values[...] = 0  # a rounded mean would leave something to divide by next to nothing
        return
    mean, deviation = values.mean(), values.std()
    values -= mean
    values /= max(deviation, SMALLEST_DEVIATION)
