"""What each kind of figure draws, collected from score files, rebuilt tables, logs and label maps."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.catalog.catalog import Catalog
from benchmark.catalog.published import UNITS, parse_published
from benchmark.catalog.statements import load_statements
from benchmark.catalog.targets import Target
from benchmark.errors import InputError, did_you_mean
from benchmark.evidence.csv_files import read_compare
from benchmark.evidence.figures.bars import Bar
from benchmark.evidence.figures.bubbles import Bubble
from benchmark.evidence.measured import CellSource, Evidence, case_scores, matrices_of
from benchmark.evidence.rebuilt import build_table
from benchmark.evidence.resolve import cell_sources, group_classes
from benchmark.evidence.scores import RunScores
from benchmark.files import read_json
from benchmark.layout import Layout
from benchmark.settings import RunConfig, Scale

SAME_NETWORK = 0.05  # counts of one network at other patches and classes differ by less
NO_NUMBERS = "the paper prints no numbers of this figure"


class NotDrawable(Exception):
    """The figure has nothing to show yet; the message is the reason, as in a table's cell."""


@dataclass(frozen=True)
class Request:
    """One figure to draw: which, from where, and whether from published numbers alone."""

    catalog: Catalog
    target: Target
    scale: Scale
    layout: Layout
    scores: Mapping[str, RunScores] = field(default_factory=dict)
    published_only: bool = False

    @property
    def demo(self) -> bool:
        return self.scale == "demo" and not self.published_only

    @property
    def size_unit(self) -> str:
        """Unit of the column that the areas of a figure of circles are."""
        columns = {name: column for table in drawn_tables(self) for name, column in table.columns.items()}
        return columns[self.parameter("size")].unit

    def parameter(self, name: str, default: Any = None) -> Any:
        """A parameter of the figure's yaml. Raises InputError if it is needed and absent."""
        parameters = self.target.figure.parameters if self.target.figure else {}
        if name in parameters or default is not None:
            return parameters.get(name, default)
        raise InputError(
            f"the figure's parameter {name!r} is missing",
            where=self.catalog.target_path(self.target),
            expected=f"figure: parameters: {name}",
        )


@dataclass(frozen=True)
class Numbers:
    """One cell of a drawn table; NaN where there is none. The interval is that of compare.csv."""

    published: float = math.nan
    rebuilt: float = math.nan
    lower: float = math.nan
    upper: float = math.nan


def drawn_tables(request: Request) -> list[Target]:
    """The tables that the figure draws: its parameter `table`, or several as `tables`."""
    names = request.parameter("tables", []) or [request.parameter("table")]
    return [request.catalog.target(name) for name in names]


def table_numbers(request: Request, table: Target) -> dict[tuple[str, str], Numbers]:
    """(row, column) → numbers of one table: its claims, and what was rebuilt of them."""
    compare = Path(request.layout.table(table.target)[1])
    rebuilt = {} if request.published_only else read_compare(compare, ["rebuilt", "interval_lower", "interval_upper"])
    numbers = {}
    for claim in table.published:
        cell = parse_published(claim.value)
        line = rebuilt.get((claim.row, claim.column), {})
        numbers[claim.row, claim.column] = Numbers(
            published=float(cell.value) if cell.value is not None else math.nan,
            rebuilt=as_number(line.get("rebuilt")),
            lower=as_number(line.get("interval_lower")),
            upper=as_number(line.get("interval_upper")),
        )
    return numbers


def bubbles_of(request: Request) -> list[Bubble]:
    """Circles of the tables' rows: published ones, and beside them every row of which something was rebuilt.

    With several tables a coordinate is the mean over them, of one column or of one for each table; a row needs all.
    At demo scale a score is not comparable with a published one: they are never drawn side by side. Rows with a score
    of the demo are drawn alone; without any, counted or measured coordinates stand with the published scores.
    """
    rows = coordinates(request)
    scored, bubbles = any_rebuilt_score(rows), []
    for row, cells in rows.items():
        if not request.demo:
            x, y, size = (cell.published for cell in cells)
            bubbles.append(Bubble(row, x, y, size, origin="published"))
        x, y, size = (cell.published if math.isnan(cell.rebuilt) else cell.rebuilt for cell in cells)
        known = [not math.isnan(cell.rebuilt) for cell in cells[:2]]
        if any(known) and not (request.demo and scored and not known[1]):
            interval = (cells[1].lower, cells[1].upper) if known[1] else (math.nan, math.nan)
            another = another_network(cells[2], request.size_unit)
            bubbles.append(Bubble(row, x, y, size, "rebuilt" if all(known) else "mixed", *interval, another=another))
    drawable = [bubble for bubble in bubbles if not any(map(math.isnan, (bubble.x, bubble.y, bubble.size)))]
    if not drawable:
        raise NotDrawable("no row of the table has been rebuilt" if request.demo else "no row has all coordinates")
    return drawable


def coordinates(request: Request) -> dict[str, list[Numbers]]:
    """Row → x, y and size of its circle."""
    tables = [table_numbers(request, table) for table in drawn_tables(request)]
    return {
        row: [_mean(tables, row, request.parameter(name)) for name in ("x", "y", "size")]
        for row in dict.fromkeys(row for numbers in tables for row, _ in numbers)
    }


def any_rebuilt_score(rows: Mapping[str, Sequence[Numbers]]) -> bool:
    """Whether the score of any row was rebuilt, and not just its cost."""
    return any(not math.isnan(y.rebuilt) for _, y, _ in rows.values())


def another_network(size: Numbers, unit: str) -> str:
    """`114 M, printed 60 M` where counted and printed sizes are too far apart for one network, else an empty string."""
    if math.isnan(size.published) or math.isnan(size.rebuilt):
        return ""
    if abs(size.rebuilt - size.published) <= SAME_NETWORK * size.published:
        return ""
    return f"{size.rebuilt:.3g} {unit}, printed {size.published:.3g} {unit}"


def _mean(tables: Sequence[Mapping[tuple[str, str], Numbers]], row: str, columns: str | Sequence[str]) -> Numbers:
    """Mean over the tables of a row's cell under `columns`, one name or one for each table; NaN if one is missing.

    The interval is that of the cell itself: a mean over tables has none.
    """
    names = [columns] * len(tables) if isinstance(columns, str) else columns
    cells = [numbers.get((row, name), Numbers()) for numbers, name in zip(tables, names, strict=True)]
    if len(cells) == 1:
        return cells[0]
    return Numbers(
        published=sum(cell.published for cell in cells) / len(cells),
        rebuilt=sum(cell.rebuilt for cell in cells) / len(cells),
    )


def own_numbers(request: Request) -> dict[tuple[str, str], Numbers]:
    """(row, column) → numbers of a figure with rows and columns of its own, scored like a table's."""
    sources = cell_sources(request.catalog, request.target, request.scale)
    table = build_table(request.target, sources, Evidence(scale=request.scale, scores=request.scores))
    found = {place: cell.measured.rebuilt for place, cell in table.cells.items() if cell.measured.rebuilt is not None}
    return {place: Numbers(rebuilt=value.value, lower=value.lower, upper=value.upper) for place, value in found.items()}


def known_name(name: str, choices: Collection[str], request: Request, place: str) -> str:
    """`name`, if it is one of the choices; else an InputError that says where in the figure's yaml it stands."""
    if name not in choices:
        where = f"{request.catalog.target_path(request.target)}: figure: {place}"
        problem = f"there is no {name!r}{did_you_mean(name, choices)}"
        raise InputError(problem, where=where, expected="one of " + ", ".join(choices))
    return name


def stated_numbers(request: Request) -> dict[tuple[str, str], Numbers]:
    """(row, column) → published numbers of a figure that prints none, where the paper's text gives the differences.

    The figure's parameter `stated` names a printed row (`table`, `row`), the figure's own row that it is (`is`), and
    for other rows by column the statement (of statements.csv) that says by how many points they are less.
    """
    stated = request.parameter("stated", {})
    if not stated or request.demo:
        return {}
    printed = table_numbers(request, request.catalog.target(stated["table"]))
    values = {one.id: one.value for one in load_statements(request.catalog) if one.paper == request.target.paper}
    numbers = {}
    for column in request.target.columns:
        known_name(stated["row"], {row for row, _ in printed}, request, "parameters: stated: row")
        base = printed[stated["row"], column].published
        numbers[stated["is"], column] = Numbers(published=base)
        for row, less in stated["less"].items():
            said = known_name(less[column], values, request, f"parameters: stated: less: {row}")
            points = float(parse_published(values[said]).value or math.nan) / 100
            numbers[row, column] = Numbers(published=round(base - points, 6))
    return numbers


def bars_of(request: Request) -> dict[str, dict[str, dict[str, Bar]]]:
    """Measure → row → series → bar, of the table that the figure names, or of the figure's own rows and columns."""
    drawn = drawn_tables(request)[0] if request.parameter("table", "") else None
    numbers = table_numbers(request, drawn) if drawn else _side_by_side(stated_numbers(request), own_numbers(request))
    wanted = request.parameter("columns", list((drawn or request.target).columns))
    panels: dict[str, dict[str, dict[str, Bar]]] = {}
    for (row, column), cell in numbers.items():
        if column in wanted:
            series = {}
            if not request.demo and not math.isnan(cell.published):
                series["published"] = Bar(cell.published)
            if not math.isnan(cell.rebuilt):
                series["rebuilt"] = Bar(cell.rebuilt, cell.lower, cell.upper)
            if series:
                panels.setdefault(column, {})[row] = series
    if not panels:
        raise NotDrawable(NO_NUMBERS if request.published_only else "no row of the table has been rebuilt")
    return panels


def _side_by_side(
    published: Mapping[tuple[str, str], Numbers], own: Mapping[tuple[str, str], Numbers]
) -> dict[tuple[str, str], Numbers]:
    """Numbers of both, each place once, in the order of the published ones where there are any."""
    places = dict.fromkeys([*published, *own])
    return {place: replace(own.get(place, Numbers()), published=published.get(place, Numbers()).published)
            for place in places}  # fmt: skip


def subgroups_of(request: Request) -> dict[str, dict[str, np.ndarray]]:
    """Group → kind of scan → one score per scan (in the printed unit), of the figure's only row."""
    if request.published_only:
        raise NotDrawable(NO_NUMBERS)
    target = request.target
    name, column = next(iter(target.columns.items()))
    row = next(iter(target.rows))
    source = cell_sources(request.catalog, target, request.scale)[row, name]
    run = source.runs[0]
    absent = request.layout.absent(run) or request.catalog.made_elsewhere(run)
    if absent and run not in request.scores:
        raise NotDrawable(absent)
    config = request.catalog.run(run, request.scale)
    kinds = _case_attribute(request, config, request.parameter("split_by"))
    groups: dict[str, dict[str, np.ndarray]] = {}
    for group in request.parameter("groups"):
        scores = _group_scores(request, source, str(column.metric), group_classes(config, group))
        by_kind: dict[str, list[float]] = {kind: [] for kind in sorted({kinds.get(case, "all") for case in scores})}
        for case, value in scores.items():
            by_kind[kinds.get(case, "all")].append(value / UNITS[column.unit])
        groups[group] = {kind: np.array(values) for kind, values in by_kind.items()}
    if not any(np.isfinite(values).any() for by_kind in groups.values() for values in by_kind.values()):
        raise NotDrawable(request.layout.absent(run) or "not run")
    return groups


def _group_scores(
    request: Request, source: CellSource, metric: str, classes: tuple[str, ...] | None
) -> dict[str, float]:
    restricted = CellSource(
        runs=source.runs, convention=source.convention, classes=classes, case_decimals=source.case_decimals
    )
    return case_scores(matrices_of(restricted, metric, Evidence(scores=request.scores)))


def _case_attribute(request: Request, config: RunConfig, attribute: str) -> dict[str, str]:
    """Case → attribute, from the prepared store's case files; empty where the store is not at hand."""
    folder = Path(request.layout.prepared_for(config)).parent / "cases"
    found = {}
    for path in sorted(folder.glob("*.json")):
        meta = read_json(path)
        if attribute in meta.get("attributes", {}):
            found[meta["case"]] = str(meta["attributes"][attribute])
    return found


def as_number(text: str | None) -> float:
    """A number as a csv file has it; NaN where there is none."""
    return float(text) if text else math.nan
