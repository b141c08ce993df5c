"""`retable figure TARGET`: a rebuilt figure, or with `--published` the one that published numbers give."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from benchmark.catalog.arguments import catalog_of, results_of
from benchmark.catalog.targets import Column
from benchmark.errors import InputError
from benchmark.evidence.curve_data import curves_of
from benchmark.evidence.figure_data import (
    NotDrawable,
    Request,
    any_rebuilt_score,
    bars_of,
    bubbles_of,
    coordinates,
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
from benchmark.evidence.figures.style import DEMO_NOTE, save_figure, stamp
from benchmark.evidence.figures.subgroups import draw_subgroups
from benchmark.evidence.map_data import features_of, receptive_fields_of
from benchmark.evidence.panel_data import panels_of
from benchmark.evidence.table import add_file_arguments, read_costs, scores_of
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
        return STYLES[target.drawing.style](request)
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
    axes, bubbles = bubble_axes(request), bubbles_of(request)
    scored = any_rebuilt_score(coordinates(request))
    figure = draw_bubbles(
        bubbles,
        x_label=axes.x,
        y_label=axes.y,
        size_unit=axes.size_unit,
        highlight=request.parameter("highlight", ""),
        x_scale=request.parameter("x_scale", "linear"),
        arrows=[tuple(pair) for pair in request.parameter("arrows", [])],
        legend_sizes=request.parameter("legend_sizes", []),
        demo=request.demo and scored,
    )
    counts: Counter[str] = Counter(bubble.origin for bubble in bubbles)
    words = {
        "published": "published: {} circles",
        "rebuilt": "rebuilt: {} circles",
        "mixed": "one coordinate rebuilt, the other published (‡): {} circles",
    }
    parts = [words[origin].format(counts[origin]) for origin in words if counts[origin]]
    if not scored and counts["mixed"]:
        parts.append("no score is rebuilt: parameters, FLOPs and times are those of the papers' scale")
    return stamp(figure, _stamp_text(request, parts, scored=scored))


def _names(columns: str | list[str]) -> list[str]:
    """The columns of one axis, each once."""
    return [columns] if isinstance(columns, str) else list(dict.fromkeys(columns))


def _bars(request: Request) -> Figure:
    panels = bars_of(request)
    columns = (drawn_tables(request)[0] if request.parameter("table", "") else request.target).columns
    first = columns[next(iter(panels))]
    decimals = 2 if first.decimals is None else first.decimals
    y_label = request.parameter("y_label", f"score ({first.unit})" if first.unit else "score")
    sizes = _sizes(request)
    figure = draw_bars(panels, y_label=y_label, decimals=decimals, below=sizes, demo=request.demo)
    rows = dict.fromkeys(name for panel in panels.values() for name in panel)
    rebuilt = {name for panel in panels.values() for name, series in panel.items() if "rebuilt" in series}
    every = list(dict.fromkeys([*request.target.rows, *rows]))
    absent = [row for row in every if row not in rebuilt] if rebuilt else []
    parts = [f"rebuilt: {len(rebuilt)} of {len(every)} rows" + (f", without {', '.join(absent)}" if absent else "")]
    if any("published" in series for panel in panels.values() for series in panel.values()):
        how = ", the table's less the differences that the text states" if request.parameter("stated", {}) else ""
        parts.insert(0, f"published: printed numbers{how}")
    if request.demo and sizes:
        parts.append("sizes of the paper's networks")
    if begun := [row for row in request.target.rows if row in rebuilt and lacks_released_weights(request, row)]:
        parts.append(f"begun without the released weights, which fit no narrowed network: {', '.join(begun)}")
    return stamp(figure, _stamp_text(request, parts, scored=bool(rebuilt)))


def lacks_released_weights(request: Request, row: str) -> bool:
    """Whether the paper's network of a row begins from released weights of its own, and that of this scale does not."""
    runs = request.catalog.cell_runs(request.target, row, next(iter(request.target.columns), None))[:1]
    return request.demo and any(request.catalog.run(run).model.released for run in runs)


def _sizes(request: Request) -> dict[str, str]:
    """Row → parameters and FLOPs of its network on its input, as counted; of a figure with rows of its own."""
    sizes: dict[str, str] = {}
    for row in request.target.rows if not request.parameter("table", "") else ():
        for run in request.catalog.cell_runs(request.target, row, next(iter(request.target.columns)))[:1]:
            path = request.catalog.folder / run.split("/")[0] / "measured" / "flops.csv"
            counted = read_costs([path] if path.is_file() else []).get(run, {})
            if {"parameters", "flops"} <= set(counted):
                sizes[row] = f"{counted['parameters'] / 1e6:.1f} M\n{counted['flops'] / 1e9:.1f} GFLOPs"
    return sizes


def _stamp_text(request: Request, parts: Sequence[str], *, scored: bool = True) -> str:
    """What a figure is made of, and at which scale its scores are."""
    scale = {"demo": DEMO_NOTE, "pilot": "pilot: a share of the steps, not comparable"}.get(request.scale, "")
    shown = scored and not request.published_only and scale
    return "; ".join([*parts, *([scale] if shown else [])])


def _subgroups(request: Request) -> Figure:
    (name, column), *_ = request.target.columns.items()
    published = {}
    if not request.demo and request.parameter("table", ""):
        (table, *_), row = drawn_tables(request), next(iter(request.target.rows))
        groups = {column.group: table.claim(row, name) for name, column in table.columns.items() if column.group}
        published = {group: float(claim.value) for group, claim in groups.items() if claim}
    figure = draw_subgroups(
        subgroups_of(request), y_label=_axis_name(name, column), published=published, demo=request.demo
    )
    parts = ["rebuilt: scores of each scan", *(["published: group means (dashed)"] if published else [])]
    return stamp(figure, _stamp_text(request, parts))


def _qualitative(request: Request) -> Figure:
    sheet = panels_of(request)
    figure = draw_panels(
        sheet.panels,
        columns=sheet.columns,
        label_names=sheet.names,
        missing=sheet.missing,
        notes=sheet.notes,
        demo=request.demo,
    )
    shown = {name for panel in sheet.panels for name in panel.labels} & set(request.target.rows)
    cases = "named in the figure's yaml" if request.parameter("cases", ()) else "the first of each test set"
    parts = [
        f"rebuilt: predictions of {len(shown)} of {len(request.target.rows)} networks",
        f"cases: {cases}; the paper does not name its own",
    ]
    return stamp(figure, _stamp_text(request, parts))


def _curves(request: Request) -> Figure:
    curves = curves_of(request)
    figure = draw_curves(curves, y_label="training loss", demo=request.demo)
    rows = sum(row.model is not None for row in request.target.rows.values())
    return stamp(figure, _stamp_text(request, [f"rebuilt: trainings of {len(curves)} of {rows} rows"]))


def _receptive_fields(request: Request) -> Figure:
    fields = receptive_fields_of(request)
    figure = draw_receptive_fields(fields.maps, missing=fields.missing, title=fields.note, demo=request.demo)
    shown = f"rebuilt: maps of {len(fields.maps)} of {len(request.target.rows)} networks"
    return stamp(figure, _stamp_text(request, [shown]))


def _features(request: Request) -> Figure:
    shown = features_of(request)
    figure = draw_features(shown.maps, note=shown.note, demo=request.demo)
    return stamp(figure, _stamp_text(request, ["rebuilt: features of our own training"]))


def _not_yet(request: Request) -> Figure:
    raise NotDrawable(f"figures of the style {request.target.drawing.style} are not drawn yet")


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
