"""Sizes of the networks of the SAM family, by name or spelt out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PATCH = 16  # pixels along a side of what becomes one token


@dataclass(frozen=True)
class SamSize:
    """Widths and depths of a network.

    Attributes:
        width, depth, heads: of the image encoder.
        global_blocks: numbers (from 0) of the blocks that attend over the whole grid; the others do in windows.
        window: side of a window, in tokens.
        channels: of the image embedding, the prompts and the decoder.
        decoder_hidden: of the perceptrons in the decoder's transformer.
        quality_hidden: of the head that predicts the masks' IoU.
    """

    width: int
    depth: int
    heads: int
    global_blocks: Sequence[int]
    window: int = 14
    channels: int = 256
    decoder_hidden: int = 2048
    quality_hidden: int = 256


SIZES = {
    "vit_b": SamSize(768, 12, 12, (2, 5, 8, 11)),
    "vit_l": SamSize(1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": SamSize(1280, 32, 16, (7, 15, 23, 31)),
}
DEMO_SIZE = {
    "width": 32,
    "depth": 4,
    "heads": 4,
    "global_blocks": (1, 3),
    "window": 3,
    "channels": 32,
    "decoder_hidden": 64,
    "quality_hidden": 32,
}


def sam_size(size: str | Mapping[str, Any]) -> SamSize:
    """A name of `SIZES`, or the fields of a `SamSize`.

    Raises:
        ValueError: unknown name, or widths that cannot be divided among the heads.
        TypeError: a field that does not exist, or one without a default that is not given.
    """
    if isinstance(size, str):
        if size not in SIZES:
            raise ValueError(f"size is one of {', '.join(SIZES)}, or a mapping of widths and depths, not {size!r}")
        return SIZES[size]
    sizes = SamSize(**size)
    if sizes.width % sizes.heads or sizes.channels % 16:
        raise ValueError("width is divisible by heads, and channels by the decoder's eight heads at half width")
    return sizes
