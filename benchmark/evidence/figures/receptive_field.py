"""Effective receptive fields: how much each input pixel contributes to the centre of the features (TMI Fig. 7)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from benchmark.errors import InputError
from benchmark.evidence.figures.style import add_axes, in_house_style, new_figure

CHARACTERS_PER_INCH = 15  # of the notes
SHARES = (0.5, 0.99)  # of all contributions: sides of the square around the centre that hold them


@in_house_style
def draw_receptive_fields(
    maps: Mapping[str, ArrayLike], *, missing: Mapping[str, str] | None = None, title: str = "", demo: bool = False
) -> Figure:
    """Draw contribution maps side by side on one scale; darker is more.

    Args:
        maps: name → [H, W] mean contribution of each pixel to the centre of the features, not negative. Each is
            divided by its maximum and shown as log10(x + 1) / log10(2). RepLKNet (Ding et al. 2022) takes the
            logarithm before it divides, which makes the picture depend on how large the gradients happen to be; under
            each stands how much of the image's side holds half and 99 % of the contributions, which does not.
        missing: name → why it has no map; said beside the maps.

    Raises:
        InputError: there is no map, or one has no positive value.
    """
    if not maps:
        raise InputError("nothing to draw: no receptive field map", expected="at least one map [H, W]")
    width = 2.4 * len(maps) + 0.8
    figure = new_figure(width, 3.1, demo=demo)
    all_axes = add_axes(figure, 1, len(maps))
    notes = [title, *(f"{name}: not attempted ({reason})" for name, reason in (missing or {}).items())]
    for axes, (name, values) in zip(all_axes, maps.items(), strict=True):
        field = _normalised(name, values)
        image = axes.imshow(np.log2(field + 1), cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
        sides = [f"{100 * share:.0f} % in {100 * side_holding(field, share):.0f} % of the side" for share in SHARES]
        axes.set(title=name, xlabel="\n".join(sides), xticks=[], yticks=[])
        axes.spines[["top", "right"]].set_visible(True)
    figure.colorbar(image, ax=all_axes, shrink=0.8, label="contribution (log scale)")
    lines = [line for note in notes for line in textwrap.wrap(note, int(width * CHARACTERS_PER_INCH))]
    if lines:
        figure.set_figheight(figure.get_figheight() + 0.15 * len(lines))
        figure.supxlabel("\n".join(lines), fontsize=9)
    return figure


def side_holding(field: ArrayLike, share: float) -> float:
    """Side, as a share of the map's, of the smallest centred square holding `share` of the sum of a map [H, W]."""
    values = np.asarray(field, dtype=float)
    row, column = (np.abs(np.arange(length) - (length - 1) / 2) / length for length in values.shape)
    reach = np.maximum(row[:, None], column[None, :]).ravel()
    order = np.argsort(reach, kind="stable")
    held = np.cumsum(values.ravel()[order]) / values.sum()
    edge = reach[order][np.searchsorted(held, min(share, held[-1]))]
    return float(min(1.0, 2 * edge + 1 / max(values.shape)))


def _normalised(name: str, values: ArrayLike) -> NDArray[np.float64]:
    field = np.asarray(values, dtype=float)
    if field.ndim != 2 or not np.isfinite(field).all() or field.min() < 0 or field.max() <= 0:
        raise InputError(
            f"not a receptive field map: {name}",
            expected="[H, W], finite, not negative, not all zero",
            found=f"shape {field.shape}, from {field.min():g} to {field.max():g}" if field.size else "an empty array",
        )
    return field / field.max()
