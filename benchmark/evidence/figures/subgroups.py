"""Distributions per group of structures, split in two kinds of scans (Swin SMT Fig. 3a)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray

from benchmark.errors import InputError
from benchmark.evidence.figures.style import COLOURS, add_axes, in_house_style, new_figure

_VIOLIN_FROM = 8  # a density drawn from fewer values would be invented
_BOX_FROM = 5  # quartiles of fewer values are the values themselves, or between them


@in_house_style
def draw_subgroups(
    scores: Mapping[str, Mapping[str, ArrayLike]],
    *,
    y_label: str,
    title: str = "",
    published: Mapping[str, float] | None = None,
    demo: bool = False,
) -> Figure:
    """Draw one box per group and kind of scan, over its points, with a violin behind where there are enough.

    Of fewer than five points no quartiles are drawn, only the points and their median.

    Args:
        scores: group → kind of scan → one score per scan (NaN: the scan shows none of the group's structures).
        published: group → published mean over all scans, drawn as a dashed line.

    Raises:
        InputError: no group has a score.
    """
    kinds = list(dict.fromkeys(kind for by_kind in scores.values() for kind in by_kind))
    values = {(group, kind): _present(by_kind.get(kind, [])) for group, by_kind in scores.items() for kind in kinds}
    if not any(map(len, values.values())):
        raise InputError("nothing to draw: no group has a score", expected="scores of at least one scan")
    figure = new_figure(max(5.0, 1.3 * len(scores) + 1.2), 4.2, demo=demo)
    (axes,) = add_axes(figure)
    width = 0.8 / len(kinds)
    for index, group in enumerate(scores):
        for number, kind in enumerate(kinds):
            place = index + (number - (len(kinds) - 1) / 2) * width
            _draw_one(axes, values[group, kind], place, width, COLOURS[number])
        if published and group in published:
            axes.hlines(published[group], index - 0.42, index + 0.42, color="black", linestyle="--", linewidth=1.0)
    axes.set_xticks(range(len(scores)), [group.capitalize() for group in scores])
    axes.set(ylabel=y_label, title=title, xlim=(-0.55, len(scores) - 0.45))
    axes.tick_params(axis="x", length=0, pad=14)
    _legend(axes, kinds, bool(published))
    return figure


def _draw_one(axes: Axes, values: NDArray, place: float, width: float, colour: str) -> None:
    axes.annotate(
        f"n={len(values)}",
        (place, 0),
        (0, -3),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=7,
        color="0.35",
    )
    if not len(values):
        return
    if len(values) >= _VIOLIN_FROM and np.ptp(values) > 0:
        violin = axes.violinplot([values], positions=[place], widths=width * 0.95, showextrema=False)
        for body in cast("list[PolyCollection]", violin["bodies"]):  # matplotlib's types have one for the list
            body.set(facecolor=colour, alpha=0.25, linewidth=0)
    # The golden ratio spreads the points evenly and always alike.
    shift = ((np.arange(len(values)) * 0.618034) % 1 - 0.5) * width * 0.35
    few = len(values) < _BOX_FROM
    axes.scatter(place + shift, np.sort(values), s=16 if few else 5, color=colour, alpha=0.6, linewidth=0, zorder=2)
    if few:
        axes.hlines(np.median(values), place - width * 0.25, place + width * 0.25, color="black", linewidth=1.4)
        return
    box = {"facecolor": "none", "edgecolor": colour, "linewidth": 1.2}
    axes.boxplot(
        [values],
        positions=[place],
        widths=width * 0.5,
        patch_artist=True,
        showfliers=False,
        boxprops=box,
        medianprops={"color": "black", "linewidth": 1.4},
        whiskerprops={"color": colour},
        capprops={"color": colour},
        manage_ticks=False,
        zorder=3,
    )


def _legend(axes: Axes, kinds: Sequence[str], published: bool) -> None:
    handles: list = [Patch(facecolor=COLOURS[number], alpha=0.6, label=kind) for number, kind in enumerate(kinds)]
    if published:
        handles += axes.plot([], [], color="black", linestyle="--", linewidth=1.0, label="published mean")
    axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(handles), fontsize=8)


def _present(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=float)
    return array[np.isfinite(array)]
