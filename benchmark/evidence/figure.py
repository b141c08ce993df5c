"""`retable figure TARGET`: a rebuilt figure, or with `--published` the one that published numbers give."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from benchmark.catalog.arguments import catalog_of, results_of
from benchmark.catalog.targets import Column
from benchmark.errors import InputError
from benchmark.evidence.figure_data import (
    NotDrawable,
    Request,
    bars_of,
    bubbles_of,
    curves_of,
    drawn_tables,
    known_name,
    subgroups_of,
)
from benchmark.evidence.figures.bars import draw_bars
from benchmark.evidence.figures.bubbles import draw_bubbles
from benchmark.evidence.figures.curves import draw_curves
from benchmark.evidence.figures.features import draw_features
from benchmark.evidence.figures.qualitative import draw_panels
from benchmark.evidence.figures.reason import draw_reason
from benchmark.evidence.figures.receptive_field import draw_receptive_fields
from benchmark.evidence.figures.style import save_figure
from benchmark.evidence.figures.subgroups import draw_subgroups
from benchmark.evidence.map_data import features_of, receptive_fields_of
from benchmark.evidence.panel_data import panels_of
from benchmark.evidence.table import add_file_arguments, scores_of
from benchmark.progress import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_file_arguments(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--published", action="store_true", help="from published numbers alone, as <out-dir>/published/<target>.svg"
    )
    which.add_argument(
        "--training",
        action="store_true",
        help="training losses of the target's runs, as <out-dir>/training/<target>.svg",
    )


def main(arguments: argparse.Namespace) -> int:
    """Write `<target>.svg`, `.png` and `.pdf`; a figure without data says why. `--training` takes tables as well.

    Raises:
        InputError: the target is a table, or with `--published` prints no numbers to draw.
    """
    catalog = catalog_of(arguments)
    target = catalog.target(arguments.target)
    if target.kind != "figure" and not arguments.training:
        raise InputError(f"{target.target} is a table", remedy=f"retable table {target.target}")
    layout = results_of(arguments)
    scores = {} if arguments.published else scores_of(arguments, catalog, target)[0]
    request = Request(catalog, target, arguments.scale, layout, scores, published_only=arguments.published)
    base = Path(arguments.out_dir or layout.root)
    if arguments.training:
        save_figure(_training(request), [base / "training" / f"{target.target}.svg"])
        return 0
    paths = [base / "published" / f"{target.target}.svg"] if arguments.published else []
    paths = paths or [base / f"{target.target}{suffix}" for suffix in (".svg", ".png", ".pdf")]
    save_figure(draw(request), paths)
    say(f"{target.target}: {paths[0]}")
    return 0


def draw(request: Request) -> Figure:
    """The figure that its target's style asks for, or a sheet that says why there is none."""
    target = request.target
    try:
        return STYLES[target.figure.style](request)
    except NotDrawable as reason:
        if request.published_only:
            raise InputError(f"{target.target} cannot be drawn from published numbers", found=str(reason)) from None
        return draw_reason(f"{target.number}: {target.title}", str(reason), demo=request.demo)


def _training(request: Request) -> Figure:
    try:
        return _curves(request)
    except NotDrawable as reason:
        title = f"{request.target.number}: training losses"
        return draw_reason(title, str(reason), demo=request.demo)


class BubbleAxes(NamedTuple):
    """What a figure of bubbles writes at its axes, and the unit of its sizes."""

    x: str
    y: str
    size_unit: str


def bubble_axes(request: Request) -> BubbleAxes:
    """Names of the axes, by the figure's parameters or else by the drawn columns.

    Raises:
        InputError: a parameter names a column that no drawn table has.
    """
    tables = drawn_tables(request)
    columns = {name: column for table in tables for name, column in table.columns.items()}
    names = {axis: _names(request.parameter(axis)) for axis in ("x", "y", "size")}
    for axis, wanted in names.items():
        for name in wanted:
            known_name(name, columns, request, f"parameters: {axis}")
    mean = "mean of " if len(tables) > 1 else ""
    labels = {axis: mean + ", ".join(_axis_name(name, columns[name]) for name in names[axis]) for axis in names}
    return BubbleAxes(
        x=request.parameter("x_label", labels["x"]),
        y=request.parameter("y_label", labels["y"]),
        size_unit=columns[names["size"][0]].unit,
    )


def _bubbles(request: Request) -> Figure:
    axes = bubble_axes(request)
    return draw_bubbles(
        bubbles_of(request),
        x_label=axes.x,
        y_label=axes.y,
        size_unit=axes.size_unit,
        highlight=request.parameter("highlight", ""),
        x_scale=request.parameter("x_scale", "linear"),
        arrows=[tuple(pair) for pair in request.parameter("arrows", [])],
        legend_sizes=request.parameter("legend_sizes", []),
        demo=request.demo,
    )


def _names(columns: str | list[str]) -> list[str]:
    """The columns of one axis, each once."""
    return [columns] if isinstance(columns, str) else list(dict.fromkeys(columns))


def _bars(request: Request) -> Figure:
    panels = bars_of(request)
    columns = (drawn_tables(request)[0] if request.parameter("table", "") else request.target).columns
    first = columns[next(iter(panels))]
    decimals = 2 if first.decimals is None else first.decimals
    y_label = request.parameter("y_label", f"score ({first.unit})" if first.unit else "score")
    return draw_bars(panels, y_label=y_label, decimals=decimals, demo=request.demo)


def _subgroups(request: Request) -> Figure:
    (name, column), *_ = request.target.columns.items()
    published = {}
    if not request.demo and request.parameter("table", ""):
        (table, *_), row = drawn_tables(request), next(iter(request.target.rows))
        groups = {column.group: table.claim(row, name) for name, column in table.columns.items() if column.group}
        published = {group: float(claim.value) for group, claim in groups.items() if claim}
    return draw_subgroups(
        subgroups_of(request), y_label=_axis_name(name, column), published=published, demo=request.demo
    )


def _qualitative(request: Request) -> Figure:
    sheet = panels_of(request)
    return draw_panels(
        sheet.panels,
        columns=sheet.columns,
        label_names=sheet.names,
        missing=sheet.missing,
        notes=sheet.notes,
        demo=request.demo,
    )


def _curves(request: Request) -> Figure:
    return draw_curves(curves_of(request), y_label="training loss", demo=request.demo)


def _receptive_fields(request: Request) -> Figure:
    fields = receptive_fields_of(request)
    return draw_receptive_fields(fields.maps, missing=fields.missing, title=fields.note, demo=request.demo)


def _features(request: Request) -> Figure:
    shown = features_of(request)
    return draw_features(shown.maps, note=shown.note, demo=request.demo)


def _not_yet(request: Request) -> Figure:
    raise NotDrawable(f"figures of the style {request.target.figure.style} are not drawn yet")


STYLES: dict[str, Callable[[Request], Figure]] = {
    "subgroups": _subgroups,
    "bubbles": _bubbles,
    "bars": _bars,
    "qualitative": _qualitative,
    "curves": _curves,
    "receptive_field": _receptive_fields,
    "features": _features,
    "diagram": _not_yet,
}


def _axis_name(name: str, column: Column) -> str:
    """`Overall` in percent of DSC reads `Overall DSC (%)`; a column that names its metric or unit stays as it is."""
    metric = (column.metric or "").upper()
    words = name if not metric or metric in name.upper() else f"{name} {metric}"
    return words if not column.unit or column.unit in words else f"{words} ({column.unit})"
