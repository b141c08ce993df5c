"""The page's figures: bubbles that answer, drawn here as SVG from the tables, and pictures of all others.

No plotting library: two plots of a dozen circles are about 20 KB of SVG, while Bokeh's core alone is a megabyte, draws
on a canvas that neither keyboard nor screen reader reaches, and shows nothing where scripts are off or on paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from benchmark.catalog.catalog import Catalog
from benchmark.catalog.targets import Target
from benchmark.evidence.figure import bubble_axes
from benchmark.evidence.figure_data import NotDrawable, Request, bubbles_of
from benchmark.evidence.figures.bubbles import Bubble
from benchmark.evidence.figures.style import DEMO_NOTE
from benchmark.layout import Layout
from benchmark.page.bubble_plot import Axes, axes_around, bubble_svg, shown
from benchmark.page.figure_pictures import FigurePicture, figure_picture
from benchmark.page.section import Section
from benchmark.page.templates import render, static
from benchmark.settings import Scale

NOTHING_RUN = "this page is made from the papers' claims alone; nothing was run"


def figures_section(
    catalog: Catalog,
    layout: Layout,
    scale: Scale,
    targets: Iterable[Target] | None = None,
    *,
    published_only: bool = False,
) -> Section:
    """All figures, in the order of the catalog.

    Args:
        layout: results folder with the rebuilt tables and the figures that the workflow drew.
        targets: of which the figures are shown; all by default.
        published_only: without a results folder, from the claims.

    Raises:
        InputError: a table or a picture of the results folder is damaged, or a figure's yaml names no column.
    """
    wanted = catalog.targets.values() if targets is None else targets
    figures = [target for target in wanted if target.figure is not None]
    shown_figures = [_shown(catalog, layout, scale, target, published_only) for target in figures]
    html = render(
        "figures.html", figures=shown_figures, style=static("figures.css"), demo=DEMO_NOTE if scale == "demo" else ""
    )
    return Section("figures", "Figures", html, script="figures.js")


def _shown(catalog: Catalog, layout: Layout, scale: Scale, target: Target, published_only: bool) -> dict[str, Any]:
    """What the template shows of one figure."""
    facts = {"target": target, "paper": catalog.papers[target.paper].paper.title, "picture": FigurePicture()}
    if target.figure and target.figure.style == "bubbles":
        return facts | _bubbles(Request(catalog, target, scale, layout, published_only=published_only))
    picture = FigurePicture(reason=NOTHING_RUN) if published_only else figure_picture(layout, target)
    return {**facts, "picture": picture, "views": [], "rows": []}


def _bubbles(request: Request) -> dict[str, Any]:
    """The views of a figure of bubbles, and its numbers as the rows of a table.

    At demo scale a score is not comparable with a published one: each view has axes of its own, and none shows both.
    """
    published, no_published = _drawable(replace(request, published_only=True))
    drawn, no_rebuilt = ([], NOTHING_RUN) if request.published_only else _drawable(request)
    rebuilt = [bubble for bubble in drawn if bubble.origin != "published"]
    no_rebuilt = no_rebuilt or ("" if rebuilt else "no row of the table has been rebuilt")
    shown_together = [("both", [*published, *rebuilt])] if published and rebuilt and not request.demo else []
    series = [("published", published), ("rebuilt", rebuilt), *shown_together]
    numbers = {label: place for place, label in enumerate(dict.fromkeys(b.label for b in (*published, *rebuilt)), 1)}
    parameters = request.target.drawing.parameters
    style = {
        "highlight": parameters.get("highlight", ""),
        "arrows": [tuple(two) for two in parameters.get("arrows", [])],
    }
    views = []
    for name, bubbles in series:
        if bubbles:
            axes = _axes(request, bubbles if request.demo else [*published, *rebuilt])
            title = f"{request.target.number}, {name}"
            views.append({"name": name, "svg": bubble_svg(bubbles, axes, numbers, title=title, **style)})
    first = "rebuilt" if rebuilt else "published"
    return {
        "views": views,
        "first": first,
        "missing": {name: why for name, why in (("published", no_published), ("rebuilt", no_rebuilt)) if why},
        "axes": bubble_axes(request),
        "rows": [_row(number, label, published, rebuilt) for label, number in numbers.items()],
        "several": len(request.parameter("tables", ["one"])) > 1,
    }


def _drawable(request: Request) -> tuple[list[Bubble], str]:
    """The circles of a request, or why there are none."""
    try:
        return bubbles_of(request), ""
    except NotDrawable as reason:
        return [], str(reason)


def _axes(request: Request, bubbles: Sequence[Bubble]) -> Axes:
    names = bubble_axes(request)
    log = request.parameter("x_scale", "linear") == "log"
    return axes_around(bubbles, x_label=names.x, y_label=names.y, size_unit=names.size_unit, log=log)


def _row(number: int, label: str, published: Sequence[Bubble], rebuilt: Sequence[Bubble]) -> dict[str, Any]:
    """A line of the table beside the figure: the same numbers that its circles stand for."""
    cells = {}
    for name, bubbles in (("published", published), ("rebuilt", rebuilt)):
        bubble = next((bubble for bubble in bubbles if bubble.label == label), None)
        cells[name] = _cells(bubble) if bubble else None
    return {"number": number, "label": label, **cells}


def _cells(bubble: Bubble) -> dict[str, str]:
    interval = f"{shown(bubble.lower)} to {shown(bubble.upper)}" if math.isfinite(bubble.lower) else ""
    mark = " ‡" if bubble.origin == "mixed" else ""
    return {"x": shown(bubble.x), "y": shown(bubble.y) + mark, "size": shown(bubble.size), "interval": interval}
