"""Bubbles: score against time or FLOPs, with the number of parameters as the area (Swin SMT Fig. 3b, TMI Fig. 1)."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Transform, offset_copy

from benchmark.errors import InputError
from benchmark.evidence.figures.labels import Anchor, place_labels
from benchmark.evidence.figures.style import COLOURS, HIGHLIGHT, MUTED, add_axes, figure_of, in_house_style, new_figure

Origin = Literal["published", "rebuilt", "mixed"]
_LARGEST = 26.0  # radius in points of the largest circle
_LEGEND_FONT = 8.0
_NOTE_WIDTH = 110  # characters of a line below the plot


@dataclass(frozen=True)
class Bubble:
    """One circle; the area is proportional to `size`.

    Attributes:
        origin: `published`, `rebuilt`, or `mixed` (one coordinate of each, e.g. measured time and published DSC).
        lower, upper: interval of `y`; NaN where there is none.
        another: where the network drawn is not the one that the published score is of, e.g. `114 M, printed 60 M`.
    """

    label: str
    x: float
    y: float
    size: float
    origin: Origin = "published"
    lower: float = math.nan
    upper: float = math.nan
    another: str = ""


@in_house_style
def draw_bubbles(
    bubbles: Sequence[Bubble],
    *,
    x_label: str,
    y_label: str,
    size_unit: str = "M",
    title: str = "",
    highlight: str = "",
    x_scale: Literal["linear", "log"] = "linear",
    arrows: Sequence[tuple[str, str]] = (),
    legend_sizes: Sequence[float] = (),
    demo: bool = False,
) -> Figure:
    """Draw circles with labels and a legend of sizes.

    Published circles are filled where they stand alone. Where a label has both, the published circle is an outline and
    a line leads to the rebuilt one.

    Args:
        highlight: label drawn in the accent colour.
        arrows: pairs of labels joined by an arrow (scratch → fine-tuned).
        legend_sizes: sizes of the grey circles; default: three round ones.

    Raises:
        InputError: there is no circle with finite coordinates.
    """
    drawn = [bubble for bubble in bubbles if all(map(math.isfinite, (bubble.x, bubble.y, bubble.size)))]
    if not drawn:
        raise InputError("nothing to draw: no row has both coordinates and a size", expected="at least one full row")
    figure = new_figure(7.2, 4.8, demo=demo)
    (axes,) = add_axes(figure)
    axes.set(xlabel=x_label, ylabel=y_label, title=title, xscale=x_scale)
    radius = _LARGEST / math.sqrt(max(bubble.size for bubble in drawn))
    replaced = {bubble.label for bubble in drawn if bubble.origin != "published"}
    for bubble in sorted(drawn, key=lambda bubble: -bubble.size):
        _circle(axes, bubble, radius, highlight, outline=bubble.origin == "published" and bubble.label in replaced)
    _set_limits(axes, drawn, x_scale)
    _size_legend(axes, legend_sizes or _round_sizes(drawn), radius, size_unit)
    if notes := _notes(drawn):
        note = {"fontsize": _LEGEND_FONT, "color": MUTED, "ha": "right", "multialignment": "right"}
        figure.supxlabel("\n".join(notes), x=0.98, **note)
    _join(axes, drawn, arrows, radius)
    outlines = [bubble for bubble in drawn if bubble.origin == "published" and bubble.label in replaced]
    place_labels(
        axes,
        [_anchor(bubble, radius, highlight) for bubble in _one_per_label(drawn)],
        obstacles=[_anchor(bubble, radius, highlight) for bubble in outlines],
    )
    return figure


def _notes(bubbles: Sequence[Bubble]) -> list[str]:
    """What the marks behind labels mean."""
    others = dict.fromkeys(f"{bubble.label} ({bubble.another})" for bubble in bubbles if bubble.another)
    words = "; ".join(others)
    notes = ["‡ one coordinate rebuilt, the other as published"] if any(b.origin == "mixed" for b in bubbles) else []
    if others:
        notes += textwrap.wrap(f"§ not the network whose score is published: {words}", _NOTE_WIDTH)
    return notes


def _circle(axes: Axes, bubble: Bubble, radius: float, highlight: str, *, outline: bool) -> None:
    colour = HIGHLIGHT if bubble.label == highlight else COLOURS[0]
    diameter = 2 * radius * math.sqrt(bubble.size)
    axes.scatter(
        [bubble.x],
        [bubble.y],
        s=diameter**2,
        linewidth=0.8,
        zorder=2,
        facecolor="none" if outline else colour,
        edgecolor=MUTED if outline else HIGHLIGHT if bubble.another else "white",
        hatch="////" if bubble.another and not outline else None,
        linestyle="--" if outline else "-",
        alpha=1.0 if outline else 0.75,
    )


def _join(axes: Axes, bubbles: Sequence[Bubble], arrows: Sequence[tuple[str, str]], radius: float) -> None:
    """A dotted line from each published circle to the rebuilt one; arrows from edge to edge of two circles."""
    published = {bubble.label: bubble for bubble in bubbles if bubble.origin == "published"}
    for bubble in bubbles:
        if bubble.origin != "published" and bubble.label in published:
            start = published[bubble.label]
            axes.plot([start.x, bubble.x], [start.y, bubble.y], color=MUTED, linewidth=0.8, linestyle=":", zorder=1)
    drawn = {bubble.label: bubble for bubble in bubbles}
    for tail, head in ((drawn.get(first), drawn.get(last)) for first, last in arrows):
        if tail and head:
            gaps = {"shrinkA": radius * math.sqrt(tail.size), "shrinkB": radius * math.sqrt(head.size)}
            style = {"arrowstyle": "->", "color": HIGHLIGHT, "linewidth": 1.2, **gaps}
            axes.annotate("", xy=(head.x, head.y), xytext=(tail.x, tail.y), arrowprops=style, zorder=3)


def _set_limits(axes: Axes, bubbles: Sequence[Bubble], x_scale: str) -> None:
    x = np.array([bubble.x for bubble in bubbles])
    y = np.array([bubble.y for bubble in bubbles])
    if x_scale == "log":
        axes.set_xlim(x.min() / 1.6, x.max() * 1.8)
    else:
        margin = 0.12 * (np.ptp(x) or abs(x[0]) or 1.0)
        axes.set_xlim(x.min() - margin, x.max() + 1.2 * margin)
    margin = 0.12 * (np.ptp(y) or abs(y[0]) or 1.0)
    axes.set_ylim(y.min() - margin, y.max() + margin)


def _round_sizes(bubbles: Sequence[Bubble]) -> list[float]:
    largest = max(bubble.size for bubble in bubbles)
    return list(dict.fromkeys(_round_down(largest * share) for share in (0.05, 0.3, 1.0)))


def _size_legend(axes: Axes, sizes: Sequence[float], radius: float, unit: str) -> None:
    """Grey circles of these sizes beside the plot, where no data can be."""
    diameters = [2 * radius * math.sqrt(size) for size in sizes]
    middle, below = 14 + max(diameters) / 2, 0.0

    def beside(x: float, y: float) -> Transform:
        return offset_copy(axes.transAxes, figure_of(axes), x=x, y=y, units="points")

    axes.text(1, 0.7, "parameters", transform=beside(14, 8), fontsize=_LEGEND_FONT)
    for size, diameter in zip(sizes, diameters, strict=True):
        centre = below - diameter / 2
        place = beside(middle, centre)
        axes.scatter([1], [0.7], s=diameter**2, transform=place, color=MUTED, alpha=0.5, linewidth=0, clip_on=False)
        words = beside(middle + max(diameters) / 2 + 6, centre)
        axes.text(1, 0.7, f"{size:g} {unit}".strip(), transform=words, va="center", fontsize=_LEGEND_FONT)
        below -= diameter + 6


def _round_down(value: float) -> float:
    """The largest of 1, 2, 3, 5 × 10^k that is not above `value`."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(step * power for step in (1, 2, 3, 5) if step * power <= value * (1 + 1e-9))


def _one_per_label(bubbles: Sequence[Bubble]) -> list[Bubble]:
    """The rebuilt circle of each label where there is one, else the published one."""
    best = {bubble.label: bubble for bubble in bubbles if bubble.origin == "published"}
    best.update({bubble.label: bubble for bubble in bubbles if bubble.origin != "published"})
    return list(best.values())


def _anchor(bubble: Bubble, radius: float, highlight: str) -> Anchor:
    marked = bubble.label == highlight
    label = bubble.label + (" ‡" if bubble.origin == "mixed" else "") + (" §" if bubble.another else "")
    size = radius * math.sqrt(bubble.size)
    return Anchor(label, bubble.x, bubble.y, size, HIGHLIGHT if marked else "black", bold=marked)
