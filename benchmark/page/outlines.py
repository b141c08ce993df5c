"""A case as a small picture: one slice in grey or colour, with the outlines of reference and prediction over it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.evidence.figures.qualitative import shown_range

Colour = tuple[int, int, int]

# Okabe and Ito (2008): told apart by colour-blind readers, and nothing in a grey image has these hues.
REFERENCE: Colour = (86, 180, 233)
PREDICTION: Colour = (230, 159, 0)
BOTH: Colour = (255, 255, 255)
OUTLINES = (REFERENCE, PREDICTION, BOTH)
LONGER_SIDE = 176  # pixels: a run of three cases takes about 20 KB
GREYS = 24
LIGHTEST = 190  # of the image, so that white is an outline


def draw_outlines(
    image: NDArray,
    reference: NDArray,
    prediction: NDArray | None,
    *,
    aspect: float = 1.0,
    longer_side: int = LONGER_SIDE,
) -> Image.Image:
    """One slice as a picture of at most 27 colours.

    An outline is one pixel wide, inside its structure; where both run through a pixel it is `BOTH`.

    Args:
        image: [H, W] grey or [H, W, 3] colour, in any unit.
        reference, prediction: labels [H, W] of whole numbers, 0 is background; no prediction is none drawn.
        aspect: height of a pixel over its width.
        longer_side: of the picture, in pixels; small images are enlarged to it, so that outlines stay thin.
    """
    size = _size(image.shape, aspect, longer_side)
    picture = _reduced(Image.fromarray(_bytes(image)).resize(size, Image.Resampling.BILINEAR))
    pixels, first_free = np.array(picture), _colours(picture)
    here = outline(_resized(reference, size))
    there = outline(_resized(prediction, size)) if prediction is not None else np.zeros_like(here)
    for number, mask in enumerate((here & ~there, there & ~here, here & there)):
        pixels[mask] = first_free + number
    drawn = Image.fromarray(pixels, mode="P")
    palette = picture.getpalette()
    assert palette is not None  # `_reduced` gives pictures of mode P
    drawn.putpalette([*palette[: 3 * first_free], *(part for colour in OUTLINES for part in colour)])
    return drawn


def outline(labels: NDArray) -> NDArray[np.bool_]:
    """Pixels [H, W] of a structure beside a pixel, above, below, left or right, that has another label.

    The border of the image is no outline.
    """
    edge = np.zeros(labels.shape, bool)
    down, across = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    return edge & (labels > 0)


def _size(shape: tuple[int, ...], aspect: float, longer_side: int) -> tuple[int, int]:
    """Width and height in pixels, in the proportions of the body."""
    height, width = shape[0] * aspect, float(shape[1])
    scale = longer_side / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _bytes(image: NDArray) -> NDArray[np.uint8]:
    low, high = shown_range(image)
    share = np.clip((image.astype(np.float64) - low) / (high - low), 0, 1)
    return np.rint(share * LIGHTEST).astype(np.uint8)


def _reduced(picture: Image.Image) -> Image.Image:
    """With a palette of `GREYS` colours: even steps of grey, or those that suit a colour picture best."""
    if picture.mode == "RGB":
        return picture.quantize(GREYS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    steps = np.rint(np.asarray(picture, np.float64) / LIGHTEST * (GREYS - 1)).astype(np.uint8)
    reduced = Image.fromarray(steps, mode="P")
    reduced.putpalette([round(step * LIGHTEST / (GREYS - 1)) for step in range(GREYS) for _ in range(3)])
    return reduced


def _colours(picture: Image.Image) -> int:
    """Number of palette entries in use; the first free one follows."""
    return int(np.asarray(picture).max()) + 1


def _resized(labels: NDArray, size: tuple[int, int]) -> NDArray:
    """Labels by nearest neighbour: Pillow keeps 32-bit numbers, which instances need."""
    picture = Image.fromarray(labels.astype(np.int32), mode="I")
    return np.asarray(picture.resize(size, Image.Resampling.NEAREST))
