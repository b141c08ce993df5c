"""Qualitative panels: image, reference and every method's labels on the same slice, with one legend."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from benchmark.errors import InputError
from benchmark.evidence.figures.style import add_axes, in_house_style, new_figure

Colours = Mapping[int, tuple[float, float, float]]
_LEGEND_LIMIT = 24
_OPACITY = 0.6
_FADED = 0.3  # the image of a column without a prediction, which would else pass for a prediction of nothing
_NOTE_CHARACTERS_PER_INCH = 17
# Paul Tol's muted scheme and its pale variants: neighbours in the list differ in hue and lightness.
_LABEL_COLOURS = (
    "#CC6677", "#88CCEE", "#DDCC77", "#117733", "#AA4499", "#44AA99", "#EE8866", "#332288", "#999933", "#882255",
    "#77AADD", "#FFAABB", "#BBCC33", "#99DDFF",
)  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One case on one slice.

    Attributes:
        name: written at the left.
        image: [H, W] grey or [H, W, 3] colour.
        labels: column (reference first, then methods) → label map [H, W] of integers, 0 is background; a missing
            column is a faded image under which stands why.
        aspect: height of a pixel over its width.
        window: grey values shown as black and white; None: 1st and 99th percentile.
    """

    name: str
    image: NDArray
    labels: Mapping[str, NDArray]
    aspect: float = 1.0
    window: tuple[float, float] | None = None


@in_house_style
def draw_panels(
    panels: Sequence[Panel],
    *,
    columns: Sequence[str],
    label_names: Mapping[int, str],
    missing: Mapping[tuple[str, str], str] | None = None,
    notes: Sequence[str] = (),
    demo: bool = False,
) -> Figure:
    """Draw a grid: one row per case; the image, then one overlay per column; structures in view in the legend.

    Args:
        missing: (panel's name, column) → why there is no prediction, written under the image.
        notes: what is not shown at all, written below the grid.

    Raises:
        InputError: there is no case, or a label map has another shape than its image.
    """
    if not panels:
        raise InputError("nothing to draw: no case", expected="at least one case with a prediction")
    figure = new_figure(1.7 * (len(columns) + 1), 1.75 * len(panels) + 0.9, demo=demo)
    grid = np.array(add_axes(figure, len(panels), len(columns) + 1), dtype=object).reshape(len(panels), -1)
    maps = [labels for panel in panels for labels in panel.labels.values()]
    colours = colours_of({label for labels in maps for label in np.unique(labels).tolist()} - {0})
    for row, panel in zip(grid, panels, strict=True):
        _show(row[0], panel, None, colours)
        row[0].set_ylabel(panel.name, fontsize=8)
        for axes, column in zip(row[1:], columns, strict=True):
            _show(axes, panel, panel.labels.get(column), colours, opacity=1 if column in panel.labels else _FADED)
            if column not in panel.labels:
                axes.set_xlabel((missing or {}).get((panel.name, column), "no prediction"), fontsize=7, wrap=True)
    for axes, name in zip(grid[0], ["image", *columns], strict=True):
        axes.set_title(name, fontsize=8)
    _legend(figure, colours, label_names, "not shown: " + "; ".join(notes) if notes else "")
    return figure


def colours_of(labels: Iterable[int]) -> dict[int, tuple[float, float, float]]:
    """A colour per structure in view, in class order; after the first fourteen they repeat darker, then lighter."""
    colours = {}
    for place, label in enumerate(sorted(labels)):
        tone, index = divmod(place, len(_LABEL_COLOURS))
        shade = np.array(to_rgb(_LABEL_COLOURS[index]))
        colours[label] = tuple((shade, shade * 0.55, 0.5 + shade / 2)[tone % 3].tolist())
    return colours


def best_slice(labels: NDArray, axis: int = 2) -> int:
    """The slice of a label map [X, Y, Z] along `axis` that shows the most structures, then the most of them."""
    planes = np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1)
    kinds = np.array([len(np.unique(plane)) for plane in planes])
    filled = (planes > 0).mean(axis=1)
    return int(np.argmax(kinds + filled))


def shown_range(image: NDArray, window: tuple[float, float] | None = None) -> tuple[float, float]:
    """Grey values shown as black and white: a window, or the image's 1st and 99th percentile; never the same."""
    low, high = window or np.percentile(image, [1, 99])
    return float(low), float(max(high, low + 1e-6))


def _show(axes: Axes, panel: Panel, labels: NDArray | None, colours: Colours, opacity: float = 1) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    low, high = shown_range(panel.image, panel.window)
    axes.imshow(panel.image, cmap="gray", vmin=low, vmax=high, aspect=panel.aspect, alpha=opacity)
    if labels is None:
        return
    if labels.shape != panel.image.shape[:2]:
        raise InputError(
            f"a label map of {panel.name} has another shape than its image",
            expected=panel.image.shape[:2],
            found=labels.shape,
        )
    overlay = np.zeros((*labels.shape, 4))
    for label in np.unique(labels[labels > 0]).tolist():
        overlay[labels == label] = (*colours[label], _OPACITY)
    axes.imshow(overlay, aspect=panel.aspect, interpolation="nearest")


def _legend(figure: Figure, colours: Colours, label_names: Mapping[int, str], notes: str) -> None:
    """Structures in view, and above them what is not shown: two texts below the axes would lie on each other."""
    handles = [
        Patch(facecolor=colour, alpha=_OPACITY, label=label_names.get(label, str(label)).replace("_", " "))
        for label, colour in list(colours.items())[:_LEGEND_LIMIT]
    ]
    if len(colours) > _LEGEND_LIMIT:
        handles.append(Patch(facecolor="none", label=f"and {len(colours) - _LEGEND_LIMIT} more"))
    if handles or notes:
        fitting = max(1, int(figure.get_figwidth() / 1.5))
        title = textwrap.fill(notes, int(figure.get_figwidth() * _NOTE_CHARACTERS_PER_INCH)) or None
        columns = min(fitting, max(1, len(handles)))
        figure.legend(
            handles=handles, title=title, fontsize=6, title_fontsize=7, loc="outside lower center", ncols=columns
        )
