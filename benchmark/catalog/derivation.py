"""The derivation of a cell: claim, measure, run, protocol with provenance, files, command, and what bears on it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from benchmark.catalog.catalog import Catalog
from benchmark.catalog.papers import LedgerEntry
from benchmark.catalog.provenance import Origin
from benchmark.catalog.targets import Column, Target
from benchmark.errors import InputError, did_you_mean
from benchmark.layout import Layout
from benchmark.settings import RELEASED, RunConfig, Scale, Settings, Step
from benchmark.settings.folds import whole_of

# Measures that need no training, and the settings that decide them; for all others every setting counts.
DECIDED_BY = {
    "parameters": ("options", "training.patch"),
    "parameters_added": ("options", "training.patch"),
    "flops": ("options", "training.patch"),
    "latency": ("options", "training.patch", "inference."),
    "option": ("options",),
}
FOLD = re.compile(r"-fold\d+$")
WITHOUT_A_RUN = {
    "text": "printed words, compared with nothing",
    "training_time": "the logs of our own trainings, on another machine than the authors'",
}


class TaggedSetting(NamedTuple):
    """A setting of a run: key, value as in a yaml file (at the scale asked for, and at the paper's) and source."""

    key: str
    value: str
    paper_value: str
    origin: Origin


def check_names(target: Target, row: str | None = None, column: str | None = None) -> None:
    """Raise InputError with the nearest names where the target has no such row or column."""
    for kind, name, choices in (("row", row, target.rows), ("column", column, target.columns)):
        if name is not None and name not in choices:
            raise InputError(
                f"{target.target} has no {kind} {name!r}{did_you_mean(name, choices)}",
                expected="one of " + ", ".join(choices),
            )


def derivation(catalog: Catalog, target: Target, row: str, column: str, scale: Scale) -> Iterator[str]:
    """Lines that derive the cell (`row`, `column`) of a target.

    Raises:
        InputError: the target has no such row or column.
    """
    check_names(target, row, column)
    claim, measure = target.claim(row, column), target.columns[column]
    yield f"published   {f'{claim.value} {claim.stars}'.strip() or '(empty)' if claim else 'nothing in this cell'}"
    described = measure.model_dump(exclude_defaults=True)
    yield "measure     " + ", ".join(
        str(value) if key == "measure" else f"{key} {plain(value)}" for key, value in described.items()
    )
    yield from _rests_on(catalog, target, row, column, scale)
    if measure.measure not in WITHOUT_A_RUN:
        for name, runs in catalog.variant_runs(target, row, column).items():
            yield f"variant     {name}: {' '.join(runs)} (--config variant={name})"
    yield f"command     {command_of(target, scale)}"


def command_of(target: Target, scale: Scale) -> str:
    """What rebuilds a target."""
    file = (Layout.at(scale).table if target.kind == "table" else Layout.at(scale).figure)(target.target)[0]
    return f"snakemake {'--profile demo ' if scale == 'demo' else ''}{file}"


def _rests_on(catalog: Catalog, target: Target, row: str, name: str, scale: Scale) -> Iterator[str]:
    """What a cell is computed from, by its measure."""
    column, layout = target.columns[name], Layout.at(scale)
    runs = catalog.rests_on(target, row, name) if column.measure not in WITHOUT_A_RUN else ()
    for run, *others in _by_recipe(catalog, runs):
        if column.measure == "cases":
            dataset = whole_of(catalog.run(run).dataset)
            yield f"dataset     {dataset}: {column.metric} of benchmark/datasets/{dataset}.yaml"
        elif column.measure == "setting":
            yield f"protocol    {'/'.join(run.split('/')[:2])}"
            yield from _settings(catalog, run, "paper", deciding(column))
        elif column.measure in DECIDED_BY:
            yield f"run         {run}; nothing is trained for this cell"
            yield f"network     {network_of(catalog.run(run))}"
            yield from _settings(catalog, run, "paper", deciding(column))
            yield f"files       {_measured_file(catalog, target, column, layout)}"
        else:
            yield from _trained(catalog, (run, *others), column, layout, scale)
    if column.measure in WITHOUT_A_RUN:
        yield f"rests on    {WITHOUT_A_RUN[column.measure]}"


def _measured_file(catalog: Catalog, target: Target, column: Column, layout: Layout) -> str:
    if column.measure == "option":
        return f"{catalog.folder.name}/{target.paper}/models.yaml"
    if column.measure == "latency":
        return f"{layout.latency(target.target)}, else {catalog.folder.name}/{target.paper}/measured/latency.<gpu>.csv"
    return layout.cost(target.target)


def _by_recipe(catalog: Catalog, runs: Sequence[str]) -> list[list[str]]:
    """Runs that differ by fold or seed alone, together."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for run in runs:
        paper, protocol, model, _ = run.split("/")
        whole = catalog.papers[paper].protocols.get(FOLD.sub("", protocol))
        recipe = whole.name if whole and whole.cross_validate else protocol
        found.setdefault((paper, recipe, model), []).append(run)
    return list(found.values())


def _trained(catalog: Catalog, runs: Sequence[str], column: Column, layout: Layout, scale: Scale) -> Iterator[str]:
    """The runs of one recipe, a line each, and the recipe."""
    run, *others = runs
    yield from (f"run         {one}, configuration {catalog.run(one, scale).digest}" for one in runs)
    if others:
        yield f"            {len(runs)} runs of one recipe, which differ by fold or seed alone"
    config = catalog.run(run, scale)
    beginnings = [*config.model.released, *(edge.training for edge in config.begins_from)] or ["scratch"]
    yield f"network     {network_of(config)}, from {' and '.join(beginnings)}"
    trainings = dict.fromkeys(training for one in runs for training in catalog.trainings(one, scale))
    yield from (f"trained by  {training}" for training in trainings if training not in runs)
    yield f"convention  {column.convention or config.convention}"
    yield from _settings(catalog, run, scale, ("",))
    if scale == "demo":
        paper, name, *_ = run.split("/")
        protocol = catalog.papers[paper].protocols[name]
        yield f"  demo scale sets {plain(protocol.demo)}"
        if protocol.trained_by == RELEASED:
            yield "  demo scale trains by these settings, since nobody has released weights of a narrowed network"
    training = config.training_id
    weights = layout.weights(config.model.initialisation) if training is None else layout.trained(training)
    files = (layout.prepared_for(config), weights, layout.predicted(run), layout.scored(run))
    yield "files       " + " → ".join(files) + ("; of the other runs likewise" if others else "")


def deciding(column: Column) -> tuple[str, ...]:
    """Prefixes of the settings that decide a cell of the column; none where no setting does."""
    if column.measure == "setting":
        return (str(column.metric),)
    if column.measure == "cases" or column.measure in WITHOUT_A_RUN:
        return ()
    return DECIDED_BY.get(column.measure, ("",))


def network_of(config: RunConfig) -> str:
    """The network of a run with its options, in words."""
    options = ", ".join(f"{name} {value}" for name, value in config.model.options.items())
    return config.model.name + (f" ({options})" if options else "")


def _settings(catalog: Catalog, run: str, scale: Scale, prefixes: Sequence[str]) -> Iterator[str]:
    """A line per setting with its source; what the demo changes is ours."""
    for key, value, paper_value, origin in settings_of(catalog, run, scale, prefixes):
        ours = "" if value == paper_value else f" — demo scale, ours; the paper's scale has {paper_value}"
        yield f"  {key}: {value}{ours} — {origin.kind}: {origin.text}"


def settings_of(catalog: Catalog, run: str, scale: Scale, prefixes: Sequence[str]) -> Iterator[TaggedSetting]:
    """The settings of a run whose key starts with one of the prefixes, with the source of each."""
    paper, protocol, model, _ = run.split("/")
    folder, config, published = catalog.papers[paper], catalog.run(run, scale), catalog.run(run, "paper")
    own = {key.removeprefix(f"{model}."): origin for key, origin in folder.models[model].origins.items()}
    for key, origin in {**own, **folder.protocols[protocol].origins}.items():
        if key.startswith(tuple(prefixes)):
            places = (folder.models[model], folder.protocols[protocol])
            value, paper_value = (plain(_value(at, places, key)) for at in (config, published))
            yield TaggedSetting(key, value, paper_value, origin)


EDGES = ("begins_from", "pretraining", "joint", "trained_by")  # by name in the files, by run id in a resolved run


def _value(config: RunConfig, places: Sequence[Settings], key: str) -> object:
    """The value at a dotted key: of the resolved settings or of the network; of the row's model and protocol (`places`)
    where they name other rows and protocols."""
    first, *rest = key.split(".")
    known = places if first in EDGES else (config, config.model, *places)
    value: object = next(getattr(place, first) for place in known if hasattr(place, first))
    for part in rest:
        if value is None:  # at demo scale a whole group may be left out
            return None
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


def plain(value: object) -> str:
    """A value as in a yaml file: no Python types."""
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(plain, value)) + "]"
    if isinstance(value, Step):
        return f"{value.name} {plain(value.parameters)}" if value.parameters else value.name
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) + "}"
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


def ledger_of(catalog: Catalog, target: Target, row: str, column: str) -> list[tuple[str, LedgerEntry]]:
    """(paper, entry) of the ledgers that bear on a cell: its own paper's, and that of the paper whose run it borrows.

    An entry that names networks concerns their cells alone, one that names protocols what is trained or scored by them
    (variants and pre-trainings included), any other the targets it names. One that names cells of a target concerns no
    others there.
    """
    runs = catalog.rests_on(target, row, column)
    papers = dict.fromkeys([target.paper, *(run.split("/")[0] for run in runs)])
    entries = [(paper, entry) for paper in papers for entry in catalog.papers[paper].ledger]
    return [(paper, entry) for paper, entry in entries if _bears(catalog, paper, entry, target, row, column, runs)]


def _bears(
    catalog: Catalog, paper: str, entry: LedgerEntry, target: Target, row: str, column: str, runs: Sequence[str]
) -> bool:
    folder, measure, named = catalog.papers[paper], target.columns[column].measure, set(entry.concerns)
    rows_networks, rows_protocols = _behind(catalog, tuple(runs))
    if entry.cells and target.target in named:
        return column in entry.cells.get(row, ())
    networks = named & {*folder.models, *(model.spec.name for model in folder.models.values())}
    protocols = named & set(folder.protocols)
    if networks and not networks & rows_networks:
        return False
    if protocols:
        return bool(protocols & rows_protocols) and measure not in {*DECIDED_BY, *WITHOUT_A_RUN}
    return target.target in named or (bool(networks) and measure not in WITHOUT_A_RUN)


@lru_cache(maxsize=1024)
def _behind(catalog: Catalog, runs: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the networks of some runs, and of the protocols by which they are trained and scored, the ones that a
    variant varies included."""
    networks = {run.split("/")[2] for run in runs} | {catalog.run(run).model.name for run in runs}
    protocols = {tuple(name.split("/")[:2]) for run in runs for name in (run, *catalog.trainings(run))}
    varied = {of for paper, name in protocols for of in catalog.papers[paper].protocols[name].recipe_of}
    return frozenset(networks), frozenset({name for _, name in protocols} | varied)
