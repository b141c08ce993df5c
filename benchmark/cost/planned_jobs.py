"""How many jobs a dry run plans for targets in an empty results folder, beside those of their runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from benchmark.catalog.catalog import Catalog
from benchmark.catalog.targets import Target
from benchmark.settings import Scale

PAGES = 4  # audit, coverage, budget, and the page of all


def with_drawn_tables(catalog: Catalog, names: Iterable[str]) -> list[str]:
    """The targets, and the tables that figures among them draw, each once."""
    found = dict.fromkeys(names)
    for name in list(found):
        found |= dict.fromkeys(catalog.target(name).drawn_tables)
    return list(found)


def jobs_around(catalog: Catalog, names: Sequence[str], scale: Scale) -> int:
    """Jobs beside those of runs: every table and figure itself, counted networks, controls of a protocol, points."""
    targets = [catalog.target(name) for name in names]
    tables = [target for target in targets if target.kind == "table"]
    counted = sum(target.is_counted for target in tables)
    controls = {protocol for target in tables for protocol in _protocols(catalog, target, scale)}
    told = {run for target in targets for run in _ready(catalog, target) if _is_told(catalog, run, scale)}
    configs = [catalog.run(run, scale) for run in told]
    points = {(config.dataset, config.preparation_id, config.inference.point) for config in configs}
    timed = 0 if scale == "demo" else sum(target.measures("latency") for target in tables)
    return len(targets) + counted + timed + len(controls) + len(points)


def jobs_of_everything(catalog: Catalog, scale: Scale) -> int:
    """Jobs of a workflow of everything beside those of its targets: itself, pages, pictures of every run's cases,
    published and training figures, images that trainings fill in."""
    targets = list(catalog.targets.values())
    pictured = {run for target in targets for run in _ready(catalog, target)}
    curves = with_curves(
        targets, lambda target: {name for run in _ready(catalog, target) for name in catalog.trainings(run, scale)}
    )
    trainings = {name for run in pictured for name in catalog.trainings(run, scale)}
    filled = sum(catalog.run(name, scale).fills_images for name in trainings)
    return 1 + PAGES + sum(target.draws_published for target in targets) + len(pictured) + len(curves) + filled


def with_curves(targets: Iterable[Target], trainings_of: Callable[[Target], Iterable[str]]) -> list[str]:
    """Targets whose training losses are drawn: tables, and figures of what no table before them trains."""
    drawn: set[str] = set()
    found = []
    for target in sorted(targets, key=lambda target: target.kind != "table"):
        trainings = set(trainings_of(target))
        if trainings and (target.kind == "table" or trainings - drawn):
            found.append(target.target)
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
