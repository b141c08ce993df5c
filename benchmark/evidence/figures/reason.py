"""A figure that cannot be drawn yet says why, so that the workflow's other products do not wait for it."""

from __future__ import annotations

import textwrap

from matplotlib.figure import Figure

from benchmark.evidence.figures.style import MUTED, add_axes, in_house_style, new_figure


@in_house_style
def draw_reason(title: str, reason: str, *, demo: bool = False) -> Figure:
    """A sheet with the figure's title and `not attempted (reason)`."""
    figure = new_figure(5.0, 2.0, demo=demo)
    (axes,) = add_axes(figure)
    axes.set_axis_off()
    axes.set_title(textwrap.fill(title, 60))
    axes.text(0.5, 0.5, textwrap.fill(f"not attempted ({reason})", 60), ha="center", va="center", color=MUTED)
    return figure
