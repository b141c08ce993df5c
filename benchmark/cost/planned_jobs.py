"""How many jobs a dry run plans for targets in an empty results folder, beside those of their runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmark.catalog.catalog import Catalog
from benchmark.catalog.targets import Target
from benchmark.settings import Scale

COUNTED = {"parameters", "parameters_added", "flops"}
PAGES = 4  # audit, coverage, budget, and the page of all


def with_drawn_tables(catalog: Catalog, names: Iterable[str]) -> list[str]:
    """The targets, and the tables that figures among them draw, each once."""
    found = dict.fromkeys(names)
    for name in list(found):
        figure = catalog.target(name).figure
        parameters = figure.parameters if figure else {}
        found |= dict.fromkeys(parameters.get("tables", ()))
        found |= dict.fromkeys([parameters["table"]] if "table" in parameters else [])
    return list(found)


def jobs_around(catalog: Catalog, names: Sequence[str], scale: Scale) -> int:
    """Jobs beside those of runs: every table and figure itself, counted networks, controls of a protocol, points."""
    targets = [catalog.target(name) for name in names]
    tables = [target for target in targets if target.kind == "table"]
    counted = sum(bool(COUNTED & {column.measure for column in target.columns.values()}) for target in tables)
    controls = {protocol for target in tables for protocol in _protocols(catalog, target, scale)}
    told = {run for target in targets for run in _ready(catalog, target) if _is_told(catalog, run, scale)}
    configs = [catalog.run(run, scale) for run in told]
    points = {(config.dataset, config.preparation_id, config.inference.point) for config in configs}
    timed = 0 if scale == "demo" else sum(target.measures("latency") for target in tables)
    return len(targets) + counted + timed + len(controls) + len(points)


def jobs_of_everything(catalog: Catalog, scale: Scale) -> int:
    """Jobs of a workflow of everything beside those of its targets: itself, pages, pictures of every run's cases,
    published and training figures."""
    targets = list(catalog.targets.values())
    figures = [target.figure for target in targets if target.figure]
    published = sum(figure.style == "bubbles" or "stated" in figure.parameters for figure in figures)
    pictured = {run for target in targets for run in _ready(catalog, target)}
    return 1 + PAGES + published + len(pictured) + _curves(catalog, scale)


def _curves(catalog: Catalog, scale: Scale) -> int:
    """Figures of training losses: of tables, and of figures that need trainings which no table before them has."""
    drawn: set[str] = set()
    found = 0
    for target in sorted(catalog.targets.values(), key=lambda target: target.kind != "table"):
        trainings = {name for run in _ready(catalog, target) for name in catalog.trainings(run, scale)}
        found += bool(trainings) and (target.kind == "table" or bool(trainings - drawn))
        drawn |= trainings
    return found


def _ready(catalog: Catalog, target: Target) -> list[str]:
    return [run for run in catalog.runs(target, scored=True) if not catalog.made_elsewhere(run)]


def _is_told(catalog: Catalog, run: str, scale: Scale) -> bool:
    return catalog.run(run, scale).inference.method == "prompted"


def _protocols(catalog: Catalog, target: Target, scale: Scale) -> set[tuple[str, bool]]:
    """(paper/protocol, whether it is the control that is told points) of every control of a table."""
    ready = _ready(catalog, target)
    protocols = {("/".join(run.split("/")[:2]), False) for run in ready}
    return protocols | {("/".join(run.split("/")[:2]), True) for run in ready if _is_told(catalog, run, scale)}
