"""Bars with intervals: ablations, published beside rebuilt (TMI Figs. 5 and 6)."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.errors import InputError
from benchmark.evidence.figures.style import COLOURS, add_axes, in_house_style, new_figure


@dataclass(frozen=True)
class Bar:
    """A value with the ends of its interval; NaN where there is none."""

    value: float
    lower: float = math.nan
    upper: float = math.nan


@in_house_style
def draw_bars(
    panels: Mapping[str, Mapping[str, Mapping[str, Bar]]],
    *,
    y_label: str,
    title: str = "",
    decimals: int = 2,
    below: Mapping[str, str] | None = None,
    demo: bool = False,
) -> Figure:
    """Draw one panel per measure, one cluster of bars per row, one bar per series.

    The axis starts at zero unless all values are close together; it then starts below the smallest, and the axis label
    says so.

    Args:
        panels: measure → row → series (`published`, `rebuilt`) → bar.
        below: row → words under its name, e.g. how large its network is.

    Raises:
        InputError: no bar has a value.
    """
    bars = [bar for rows in panels.values() for row in rows.values() for bar in row.values()]
    if not any(math.isfinite(bar.value) for bar in bars):
        raise InputError("nothing to draw: no bar has a value", expected="a value in at least one row")
    rows = max(len(panel) for panel in panels.values())
    figure = new_figure(max(3.2, 1.1 * rows) * len(panels) + 0.8, 3.8, demo=demo)
    series = list(dict.fromkeys(name for rows in panels.values() for row in rows.values() for name in row))
    all_axes = add_axes(figure, 1, len(panels))
    for axes, (measure, panel) in zip(all_axes, panels.items(), strict=True):
        _panel(axes, panel, series, decimals, below or {})
        axes.set(title=measure, ylabel=y_label + (" (axis cut)" if axes.get_ylim()[0] > 0 else ""))
    if title:
        figure.supxlabel(title, fontsize=9)
    if len(series) > 1:
        handles, names = all_axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(series), fontsize=8)
    return figure


def _panel(
    axes: Axes,
    panel: Mapping[str, Mapping[str, Bar]],
    series: Sequence[str],
    decimals: int,
    below: Mapping[str, str],
) -> None:
    width = 0.8 / len(series)
    for number, name in enumerate(series):
        for index, row in enumerate(panel.values()):
            bar = row.get(name, Bar(math.nan))
            if math.isfinite(bar.value):
                place = index + (number - (len(series) - 1) / 2) * width
                label = name if name not in axes.get_legend_handles_labels()[1] else None
                _bar(axes, place, bar, width * 0.92, COLOURS[number], label, decimals)
    names = ["\n".join(filter(None, [textwrap.fill(row, 14), below.get(row, "")])) for row in panel]
    axes.set_xticks(range(len(panel)), names, fontsize=8)
    bottom, highest = _bottom(panel), _highest(panel)
    axes.set_ylim(bottom, highest + 0.12 * ((highest - bottom) or 1.0))  # room for the number above the highest bar


def _bar(axes: Axes, place: float, bar: Bar, width: float, colour: str, label: str | None, decimals: int) -> None:
    axes.bar(place, bar.value, width=width, color=colour, label=label)
    top = bar.value
    if math.isfinite(bar.lower) and math.isfinite(bar.upper):
        ends = [[bar.value - bar.lower], [bar.upper - bar.value]]
        axes.errorbar(place, bar.value, yerr=ends, color="black", linewidth=1.0, capsize=3)
        top = max(top, bar.upper)
    axes.annotate(
        f"{bar.value:.{decimals}f}", (place, top), (0, 2), textcoords="offset points", ha="center", fontsize=7
    )


def _highest(panel: Mapping[str, Mapping[str, Bar]]) -> float:
    """The top of the highest bar or interval; zero where all bars are negative."""
    bars = [bar for row in panel.values() for bar in row.values() if math.isfinite(bar.value)]
    return max((bar.upper if math.isfinite(bar.upper) else max(bar.value, 0.0) for bar in bars), default=0.0)


def _bottom(panel: Mapping[str, Mapping[str, Bar]]) -> float:
    """Where the axis starts: below the smallest bar if all bars are within a fifth of the highest, else at zero."""
    bars = [bar for row in panel.values() for bar in row.values() if math.isfinite(bar.value)]
    lowest = min((min(bar.value, bar.lower) if math.isfinite(bar.lower) else bar.value for bar in bars), default=0.0)
    if lowest <= 0:
        return lowest
    highest = max(bar.value for bar in bars)
    spread = highest - lowest
    return max(0.0, lowest - 0.6 * spread) if 0 < spread < 0.2 * highest else 0.0
