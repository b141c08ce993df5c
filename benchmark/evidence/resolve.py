"""From the catalog to what each cell rests on: runs, structures, convention, test set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmark.catalog.catalog import Catalog
from benchmark.catalog.targets import Column, Target
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from benchmark.evidence.measured import CellSource
from benchmark.scoring.conventions import get_convention
from benchmark.settings import RunConfig, Scale
from benchmark.settings.folds import fold_of, whole_of

DIMENSION = "dimension"  # the setting that no single key holds: sides of the patch
NO_PHANTOM = "no phantom of this dataset; give roots"


def cell_sources(catalog: Catalog, target: Target, scale: Scale) -> dict[tuple[str, str], CellSource]:
    """(row, column) → source, for every cell of a target; a row of printed text has no runs."""
    sources = {}
    for row in target.rows:
        for name, column in target.columns.items():
            try:
                source = _source(catalog, column, catalog.cell_runs(target, row, name), scale)
            except InputError as error:
                where = f"{catalog.target_path(target)}: columns: {name}"
                raise InputError(error.problem, where=where, expected=error.expected) from None
            sources[row, name] = replace(source, reading=catalog.reading(target, row, name))
    return sources


def _source(catalog: Catalog, column: Column, runs: Sequence[str], scale: Scale) -> CellSource:
    if not runs:
        return CellSource()
    config = catalog.run(runs[0], scale)
    name = column.convention or config.convention
    convention = get_convention(name)
    rounding = convention.rounding if convention.rounding and convention.rounding.of == "case" else None
    dataset = get_dataset(config.dataset)
    return CellSource(
        runs=tuple(runs),
        folds=_folds(catalog, runs, scale),
        without_scores=NO_PHANTOM if not dataset.phantom and scale == "demo" else "not run",
        dataset=whole_of(config.dataset),
        convention=name,
        order=convention.averaging,
        classes=group_classes(config, column.group),
        case_decimals=rounding.decimals if rounding else None,
        test_cases=frozenset(dataset.test_cases),
        told=config.inference.method == "prompted",
        setting=_setting(column, catalog.run(runs[0], "paper")),
        words=_words(column, catalog.run(runs[0], "paper")),
    )


def _folds(catalog: Catalog, runs: Sequence[str], scale: Scale) -> dict[int, tuple[str, ...]]:
    """Fold → the runs that are tested on it, where the runs are those of a cross-validation."""
    found: dict[int, tuple[str, ...]] = {}
    for run in runs:
        fold = fold_of(catalog.run(run, scale).dataset)
        if fold is not None:
            found[fold] = (*found.get(fold, ()), run)
    return found


def group_classes(config: RunConfig, group: str | None) -> tuple[str, ...] | None:
    """Structures of a label group, or the one of that name, without those that a run leaves out; None: all of them.

    Raises:
        InputError: the data set has no such group.
    """
    if group is None:
        return None
    dataset = get_dataset(config.dataset)
    groups = {**{name: (name,) for name in dataset.label_names}, **dataset.groups}
    if group not in groups:
        raise InputError(f"unknown label group {group!r} of {config.dataset}", expected="one of " + ", ".join(groups))
    return tuple(name for name in groups[group] if config.labels is None or name in config.labels)


def _words(column: Column, config: RunConfig) -> str:
    """A setting that is no number, as words: the sides of a patch, or 2D and 3D; empty for all others."""
    if column.measure != "setting":
        return ""
    if column.metric == DIMENSION:
        return f"{len(config.training.patch)}D"
    value = _value(config, str(column.metric))
    return f"({', '.join(map(str, value))})" if isinstance(value, tuple | list) else ""


def _value(config: RunConfig, key: str) -> Any:
    """The value of a dotted key; None where there is none."""
    value: Any = config.model_dump()
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _setting(column: Column, config: RunConfig) -> float | None:
    """Value of a column that prints a setting of the paper or a size of the data set; None if it is not a number."""
    key = str(column.metric)
    if column.measure == "option":
        return float(config.model.options.get(key, 0))
    if column.measure == "setting":
        value = _value(config, key)
        return float(value) if isinstance(value, int | float) else None
    if column.measure == "cases":
        dataset = get_dataset(config.dataset)
        sizes = {"classes": len(dataset.label_names), **dataset.split_counts, **dataset.counts}
        count = sizes.get(key)
        return None if count is None else float(count)
    return None
