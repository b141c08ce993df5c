"""Curves over optimiser steps: losses of several runs in one plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from benchmark.errors import InputError
from benchmark.evidence.figures.style import COLOURS, add_axes, in_house_style, new_figure

_STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Curve:
    """One run: steps [n] and values [n]."""

    steps: ArrayLike
    values: ArrayLike


@in_house_style
def draw_curves(
    panels: Mapping[str, Mapping[str, Curve]],
    *,
    y_label: str,
    x_label: str = "optimiser step",
    smoothing: float = 0.9,
    log: bool = False,
    demo: bool = False,
) -> Figure:
    """Draw every curve twice: faint as logged, and in full colour as an exponential moving average.

    Args:
        panels: title → name → curve; one plot each, as their values are not of one kind.
        smoothing: weight of the past in the average, corrected for its start; 0 draws the values alone.
        log: logarithmic values.

    Raises:
        InputError: no curve has a value.
    """
    drawn = {title: finite for title, curves in panels.items() if (finite := _with_values(curves))}
    if not drawn:
        raise InputError("nothing to draw: no curve has a value", expected="a log with at least one finite value")
    columns = min(len(drawn), 2)
    rows = -(-len(drawn) // columns)
    figure = new_figure(6.5 * columns, 4.0 * rows, demo=demo)
    axes = add_axes(figure, rows, columns)
    for place, (title, curves) in zip(axes, drawn.items(), strict=False):
        _draw(place, curves, smoothing)
        place.set(xlabel=x_label, ylabel=y_label, title=title, yscale="log" if log else "linear")
    for place in axes[len(drawn) :]:
        place.set_axis_off()
    return figure


def _with_values(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    return {name: curve for name, curve in curves.items() if np.isfinite(np.asarray(curve.values, float)).any()}


def _draw(axes: Axes, curves: Mapping[str, Curve], smoothing: float) -> None:
    for number, (name, curve) in enumerate(curves.items()):
        colour, line = COLOURS[number % len(COLOURS)], _STYLES[number // len(COLOURS) % len(_STYLES)]
        steps, values = np.asarray(curve.steps, float), np.asarray(curve.values, float)
        if smoothing:
            axes.plot(steps, values, alpha=0.25, linewidth=0.7, color=colour, linestyle=line)
        axes.plot(steps, smooth(values, smoothing), label=name, linewidth=1.5, color=colour, linestyle=line)
    axes.legend(fontsize=8)


def smooth(values: ArrayLike, weight: float) -> NDArray[np.float64]:
    """Exponential moving average [n] with the start-up bias removed; NaN values are skipped and keep the average."""
    average, mass, result = 0.0, 0.0, []
    for value in np.asarray(values, dtype=float):
        if np.isfinite(value):
            average = weight * average + (1 - weight) * value
            mass = weight * mass + (1 - weight)
        result.append(average / mass if mass else np.nan)
    return np.array(result)
