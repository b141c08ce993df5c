"""How all figures look, and how they are written: colour-blind safe, text as text, the same bytes every time."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from benchmark.errors import InputError
from benchmark.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# Okabe and Ito (2008), reordered so that the first three also differ in lightness.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
HIGHLIGHT = "#D55E00"
MUTED = "#8C8C8C"
DEMO_NOTE = "demo scale, not comparable"
STAMP = "stamp"
STAMP_FONT, STAMP_LINE, CHARACTERS_PER_INCH = 6.5, 0.13, 19  # points, inches

_SETTINGS: dict[RcKeyType, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so that layout does not depend on the machine
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.grid": False,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "retable",
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}
# Writers add a date and their own version unless told not to.
_METADATA = {
    ".svg": {"Date": None, "Creator": "retable"},
    ".pdf": {"CreationDate": None, "Creator": "retable", "Producer": None},
    ".png": {"Software": None},
}


def in_house_style(draw: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorator: whatever `draw` makes has the house style, and the caller's own settings stay as they are."""

    @wraps(draw)
    def styled(*arguments: Arguments.args, **keywords: Arguments.kwargs) -> Result:
        with matplotlib.rc_context(_SETTINGS):
            return draw(*arguments, **keywords)

    return styled


def new_figure(width: float = 6.5, height: float = 4.5, *, demo: bool = False) -> Figure:
    """An empty figure (inches); at demo scale it says so across its top."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    if demo:
        figure.suptitle(DEMO_NOTE, color=HIGHLIGHT, fontsize=10, fontweight="bold")
    return figure


@in_house_style
def stamp(figure: Figure, text: str) -> Figure:
    """Say in small letters, below the lower edge, what the figure is made of; files are written that much taller.

    Below the figure, since legends, notes and axes share what is inside it.
    """
    width = figure.get_figwidth()
    lines = textwrap.wrap(text, int(width * CHARACTERS_PER_INCH))
    _hold_legends(figure)
    figure.text(
        0.06 / width,
        0.0,
        "\n".join(lines),
        in_layout=False,
        ha="left",
        va="top",
        fontsize=STAMP_FONT,
        color=MUTED,
        gid=STAMP,
    )
    return figure


def _hold_legends(figure: Figure) -> None:
    """Keep legends outside the axes where they are: they would follow the edge of what is written, over the stamp."""
    if not figure.legends:
        return
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for legend in figure.legends:
        corner = legend.get_window_extent().transformed(figure.transFigure.inverted())
        legend.borderaxespad = 0.0
        legend.set_loc("lower left")
        legend.set_bbox_to_anchor((corner.x0, corner.y0), transform=figure.transFigure)


def _whole(figure: Figure) -> Bbox:
    """What is written of a figure, in inches: all of it, and its stamp below."""
    width, height = figure.get_size_inches()
    lines = sum(len(text.get_text().splitlines()) for text in figure.texts if text.get_gid() == STAMP)
    return Bbox.from_extents(0, -STAMP_LINE * lines - (0.04 if lines else 0), width, height)


def add_axes(figure: Figure, rows: int = 1, columns: int = 1, **keywords: Any) -> list[Axes]:
    """`rows` × `columns` axes, row by row."""
    return list(figure.subplots(rows, columns, squeeze=False, **keywords).ravel())


def figure_of(axes: Axes) -> Figure:
    """The whole figure that axes are in.

    Raises:
        ValueError: they are in none.
    """
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("axes without a figure")
    return figure


@in_house_style
def save_figure(figure: Figure, paths: Iterable[str | Path]) -> None:
    """Write `figure` to each path (.svg, .png, .pdf), atomically and deterministically.

    Raises:
        InputError: for another suffix.
    """
    for path in map(Path, paths):
        if path.suffix not in _METADATA:
            raise InputError("unknown figure format", where=path, expected=", ".join(_METADATA), found=path.suffix)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, metadata=_METADATA[path.suffix], bbox_inches=_whole(figure))
