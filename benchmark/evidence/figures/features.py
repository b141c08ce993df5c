"""What an encoder's layers see, and what a fusion makes of them (MoE-SAM Fig. 2)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.errors import InputError
from benchmark.evidence.figures.style import in_house_style, new_figure

COLUMNS = {"images": "image", "neck": "neck, no fusion", "fused": "fused", "attention": "attention"}
SIDE, STRIP, CHARACTERS_PER_INCH = 1.5, 0.85, 15  # inches of a picture and of one of the strip; of the note


@in_house_style
def draw_features(maps: Mapping[str, np.ndarray], *, note: str = "", demo: bool = False) -> Figure:
    """(a) a strip of all layers of the first slice, in their order; (b) per slice: image, neck, fused, attention.

    Each picture has a scale of its own, from its least to its greatest value, since units of layers do not compare.

    Args:
        maps: images, neck, fused and attention [N, rows, columns]; layers [N, depth, rows, columns].
        note: said below.

    Raises:
        InputError: a map is missing or has another number of slices.
    """
    _check(maps)
    count, depth = maps["layers"].shape[:2]
    per_row = min(depth, 12)
    strip_rows = -(-depth // per_row)
    width = max(SIDE * len(COLUMNS), STRIP * per_row) + 0.4
    lines = textwrap.wrap(note, int(width * CHARACTERS_PER_INCH))
    figure = new_figure(width, SIDE * count + STRIP * strip_rows + 0.9 + 0.15 * len(lines), demo=demo)
    heights = [STRIP * strip_rows + 0.4, SIDE * count + 0.4]
    (above,), (below,) = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)
    strip = above.subplots(strip_rows, per_row, squeeze=False).ravel()
    for number, axes in enumerate(strip):
        axes.set_axis_off()
        if number < depth:
            _show(axes, maps["layers"][0, number], "viridis")
            axes.set_title(str(number + 1), fontsize=8)
    above.suptitle("(a) output of each block of the encoder, first to last →", fontsize=9)
    panels = below.subplots(count, len(COLUMNS), squeeze=False)
    for row, axes_of_row in enumerate(panels):
        for axes, (name, title) in zip(axes_of_row, COLUMNS.items(), strict=True):
            _show(axes, maps[name][row], "gray" if name == "images" else "viridis")
            axes.set_title(title if row == 0 else "", fontsize=9)
    below.suptitle("(b) before and after the feature enhancing block", fontsize=9)
    if lines:
        below.supxlabel("\n".join(lines), fontsize=8)
    return figure


def _show(axes: Axes, picture: np.ndarray, colours: str) -> None:
    """A slice [x, y] as it is stored, x to the right and y downwards."""
    axes.imshow(picture.T, cmap=colours, interpolation="nearest", vmin=picture.min(), vmax=picture.max())
    axes.set(xticks=[], yticks=[])


def _check(maps: Mapping[str, np.ndarray]) -> None:
    wanted = {"layers": 4, **dict.fromkeys(COLUMNS, 3)}
    missing = sorted(set(wanted) - set(maps))
    odd = [name for name, axes in wanted.items() if name in maps and (maps[name].ndim != axes or not len(maps[name]))]
    if missing or odd or len({len(maps[name]) for name in wanted}) > 1:
        found = {name: np.shape(values) for name, values in maps.items()}
        raise InputError("these are not the features of slices", expected="equally many of each map", found=found)
