"""The catalog: every paper, model, protocol, run and target of a paper_tables folder, loaded and cross-checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from benchmark.catalog.papers import LedgerEntry, NamedModel, Paper, Protocol
from benchmark.catalog.provenance import merge, split_tags
from benchmark.catalog.reading import read_csv, read_yaml, validate
from benchmark.catalog.targets import Column, Row, Target
from benchmark.datasets import available_datasets
from benchmark.errors import InputError, did_you_mean
from benchmark.models.registry import available_models
from benchmark.settings import RunConfig, Scale

Value = TypeVar("Value")
DEFAULT_FOLDER = Path(__file__).resolve().parents[2] / "paper_tables"
CLAIM_COLUMNS = ["row", "column", "value", "stars", "marking"]
ENGINES = {"supervised"}  # what benchmark/training can do; protocols may name others, which are then pending
# Engines of which nothing is known but the name; the settings of their protocols are placeholders.
UNKNOWN_RECIPES = {"baseline", "task", "prompt"}
PRETRAINING = {"mim", "mae"}  # parts of an initialisation's name that we would have to compute ourselves
NOT_TARGETS = {"paper", "models", "protocols", "ledger"}


@dataclass(frozen=True)
class PaperFolder:
    """Everything in paper_tables/<paper>/."""

    paper: Paper
    models: dict[str, NamedModel]
    protocols: dict[str, Protocol]
    targets: dict[str, Target]
    ledger: tuple[LedgerEntry, ...]


class Catalog:
    """Look-up of targets and runs over all papers of a folder.

    Raises:
        InputError: on construction, for any file that is absent, misspelt or inconsistent with another.
    """

    def __init__(self, folder: str | Path = DEFAULT_FOLDER) -> None:
        self.folder = Path(folder)
        names = sorted(path.parent.name for path in self.folder.glob("*/paper.yaml"))
        if not names:
            raise InputError("no paper in the folder", where=self.folder, expected="<paper>/paper.yaml")
        self.papers = {name: _load_paper(self.folder / name) for name in names}
        self.targets: dict[str, Target] = {}
        for folder_ in self.papers.values():
            for target in folder_.targets.values():
                if target.target in self.targets:
                    raise InputError(f"target id {target.target!r} stands twice", where=self.folder)
                self.targets[target.target] = target
        for target in self.targets.values():
            self.runs(target)  # every row must resolve
        for name, folder_ in self.papers.items():
            self._check_ledger(self.folder / name / "ledger.yaml", folder_)
            self._check_scoring(self.folder / name, folder_)

    def target(self, name: str) -> Target:
        return _pick(self.targets, name, "target", None)

    def _check_ledger(self, path: Path, folder: PaperFolder) -> None:
        """Every entry concerns something, under a name that exists."""
        networks = {model.spec.name for model in folder.models.values()}
        known = dict.fromkeys([*self.targets, *folder.protocols, *folder.models, *networks])
        for entry in folder.ledger:
            for name in entry.concerns or ("",):
                _pick(known, name, "target, protocol or network in `concerns`", f"{path}: {entry.id}")

    def _check_scoring(self, path: Path, folder: PaperFolder) -> None:
        """Every convention and metric that is named exists."""
        from benchmark.scoring.conventions import load_conventions  # which itself reads settings of this package

        conventions = load_conventions()
        metrics = {metric: True for convention in conventions.values() for metric in convention.rules}
        for name, protocol in folder.protocols.items():
            _pick(conventions, protocol.convention, "convention", f"{path / 'protocols.yaml'}: {name}")
        for target in folder.targets.values():
            for name, column in target.columns.items():
                where = f"{path / target.target}.yaml: columns: {name}"
                if column.convention:
                    _pick(conventions, column.convention, "convention", where)
                if column.measure == "score":
                    _pick(metrics, str(column.metric).split("@")[0], "metric", where)

    def cell_runs(self, target: Target, row: str, column: str | None = None) -> tuple[str, ...]:
        """Run ids that a cell rests on, one per seed; empty for rows of printed text."""
        spec = target.rows[row]
        return self._row_runs(target, spec, target.columns[column] if column else None)

    def rests_on(self, target: Target, row: str, column: str) -> tuple[str, ...]:
        """Run ids behind a cell, each once: its own, or those of the columns that it is the mean of."""
        parts = target.columns[column].of or (column,)
        return tuple(dict.fromkeys(run for part in parts for run in self.cell_runs(target, row, part)))

    def reading(self, target: Target, row: str, column: str) -> str:
        """How the ledger explains a printed cell that differs from what is counted or run; empty where it does not."""
        entries = self.papers[target.paper].ledger
        explain = [entry for entry in entries if target.target in entry.concerns and column in entry.cells.get(row, ())]
        return "; ".join(f"{entry.subject}: {entry.because}" for entry in explain)

    def _row_runs(self, target: Target, row: Row, column: Column | None) -> tuple[str, ...]:
        if row.model is None:
            return ()
        paper = row.paper or target.paper
        protocol = (column.protocol if column else None) or row.protocol or target.protocol
        if protocol is None:
            return ()
        recipe = row.recipes.get(protocol, row.recipe)
        protocol += f"-{recipe}" if recipe else ""
        runs = tuple(f"{paper}/{protocol}/{row.model}/seed{seed}" for seed in row.seeds)
        for run in runs:
            self._parts(run, where=self.folder / target.paper / f"{target.target}.yaml")
        return runs

    def runs(self, target: Target, *, scored: bool = False) -> tuple[str, ...]:
        """All run ids of a target, each once, in the order of its rows.

        Args:
            scored: only those that a column needs trained and scored; a count of parameters needs no training.
        """
        columns = [column for column in target.columns.values() if column.measure == "score" or not scored]
        found = [
            run for row in target.rows.values() for column in columns for run in self._row_runs(target, row, column)
        ]
        return tuple(dict.fromkeys(found))

    def run(self, run: str, scale: Scale = "paper") -> RunConfig:
        """The resolved configuration of a run id.

        Raises:
            InputError: the id names an unknown paper, protocol, model or seed.
        """
        protocol, model, seed = self._parts(run, where="run id")
        resolved = {
            "run": run,
            "scale": scale,
            "dataset": protocol.dataset,
            "labels": protocol.labels,
            "model": model.spec.model_dump(mode="json", exclude={"demo"} if scale == "paper" else None),
            "preparation": protocol.preparation.model_dump(mode="json"),
            "training": protocol.training.model_dump(mode="json"),
            "inference": protocol.inference.model_dump(mode="json"),
            "convention": protocol.convention,
            "seed": seed,
        }
        if scale == "demo":
            resolved["model"]["initialisation"] = "scratch"  # released weights fit no narrowed network
            resolved = merge(resolved, protocol.demo)
        where = f"{self.folder / run.split('/')[0]}/protocols.yaml: {protocol.name}"
        return validate(RunConfig, resolved, where=where)

    def _parts(self, run: str, *, where: str | Path) -> tuple[Protocol, NamedModel, int]:
        paper, protocol, model, seed = (run.split("/") + [""] * 4)[:4]
        folder = _pick(self.papers, paper, "paper", where)
        if not (seed.startswith("seed") and seed[4:].isdecimal()):
            raise InputError(f"not a run id: {run!r}", where=where, expected="<paper>/<protocol>/<model>/seed<k>")
        return (
            _pick(folder.protocols, protocol, f"protocol of {paper}", where),
            _pick(folder.models, model, f"model of {paper}", where),
            int(seed[4:]),
        )

    def uncountable(self, run: str) -> str | None:
        """Why the network of a run cannot even be built and counted, or None."""
        protocol, model, _ = self._parts(run, where="run id")
        if model.spec.name not in available_models():
            return "network not yet available"
        return None if protocol.dataset in available_datasets() else "dataset not yet available"

    def pending(self, run: str) -> str | None:
        """Why a run cannot run yet, or None: a network, dataset or way of training that does not exist yet."""
        protocol, model, _ = self._parts(run, where="run id")
        if self.uncountable(run) is not None:
            return self.uncountable(run)
        if protocol.engine not in ENGINES:
            return f"{protocol.engine} training not yet available"
        if PRETRAINING & set(model.spec.initialisation.split("-")):
            return "pre-training not yet available"
        return None

    def recipe_known(self, run: str) -> bool:
        """Whether the protocol says how this run is trained, so that its steps can be estimated."""
        return self._parts(run, where="run id")[0].engine not in UNKNOWN_RECIPES

    def target_path(self, target: Target) -> Path:
        return self.folder / target.paper / f"{target.target}.yaml"


@lru_cache(maxsize=4)
def load_catalog(folder: str | Path = DEFAULT_FOLDER) -> Catalog:
    """The catalog of a folder, loaded once per process."""
    return Catalog(folder)


def _pick(choices: Mapping[str, Value], name: str, kind: str, where: str | Path | None) -> Value:
    if name not in choices:
        problem = f"unknown {kind} {name!r}{did_you_mean(name, choices)}"
        raise InputError(problem, where=where, expected="one of " + ", ".join(sorted(choices)))
    return choices[name]


def _load_paper(folder: Path) -> PaperFolder:
    paper = validate(Paper, read_yaml(folder / "paper.yaml"), where=str(folder / "paper.yaml"))
    targets = [_load_target(path) for path in sorted(folder.glob("*.yaml")) if path.stem not in NOT_TARGETS]
    return PaperFolder(
        paper=paper,
        models=_load_models(folder / "models.yaml"),
        protocols=_load_protocols(folder / "protocols.yaml"),
        targets={target.target: target for target in targets},
        ledger=_load_ledger(folder / "ledger.yaml"),
    )


def _load_models(path: Path) -> dict[str, NamedModel]:
    models = {}
    for name, tree in read_yaml(path).items():
        tagged = {key: value for key, value in tree.items() if key not in ("model", "demo")}
        values, origins = split_tags(tagged, where=str(path), key=name)
        spec = {"name": tree.get("model"), "demo": tree.get("demo"), **values}
        models[name] = validate(NamedModel, {"spec": spec, "origins": origins}, where=f"{path}: {name}")
    return models


def _load_protocols(path: Path) -> dict[str, Protocol]:
    trees = read_yaml(path)
    return {name: _load_protocol(name, _inherit(name, trees, path), path) for name in trees}


def _inherit(name: str, trees: dict[str, Any], path: Path, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """The tree of a protocol over that of the protocol it `extends`, if any."""
    if name not in trees or name in seen:
        raise InputError(
            f"a protocol cannot extend {name!r}", where=path, expected="another protocol of this file", found=seen
        )
    tree = dict(trees[name])
    base = tree.pop("extends", None)
    return tree if base is None else merge(_inherit(base, trees, path, (*seen, name)), tree)


def _load_protocol(name: str, tree: dict[str, Any], path: Path) -> Protocol:
    tagged = {key: value for key, value in tree.items() if key not in ("dataset", "demo")}
    values, origins = split_tags(tagged, where=str(path), key="")
    fields = {"name": name, "labels": None, "dataset": tree.get("dataset"), "demo": tree.get("demo", {}), **values}
    return validate(Protocol, {**fields, "origins": origins}, where=f"{path}: {name}")


def _load_target(path: Path) -> Target:
    tree = read_yaml(path)
    published = path.with_name(f"{path.stem}.published.csv")
    claims = _read_claims(published, tree) if published.exists() else []
    fields = {"target": path.stem, "paper": path.parent.name, "published": claims, **tree}
    return validate(Target, fields, where=str(path))


def _read_claims(path: Path, tree: dict[str, Any]) -> list[dict[str, str]]:
    """The published cells: each once, each in a row and a column of its table's yaml."""
    claims = read_csv(path, CLAIM_COLUMNS)
    lines: dict[tuple[str, str], int] = {}
    for number, claim in enumerate(claims, start=2):
        cell, where = (claim["row"], claim["column"]), f"{path}:{number}"
        if cell in lines:
            raise InputError(
                f"the published cell {cell} stands twice", where=where, found=f"first in line {lines[cell]}"
            )
        lines[cell] = number
        for kind in ("row", "column"):
            names = tree.get(f"{kind}s") or {}
            if claim[kind] not in names:
                raise InputError(
                    f"the published cell {cell} has no {kind} in the table's yaml{did_you_mean(claim[kind], names)}",
                    where=where,
                    expected="one of " + ", ".join(map(str, names)),
                )
    return claims


def _load_ledger(path: Path) -> tuple[LedgerEntry, ...]:
    if not path.exists():
        return ()
    return tuple(
        validate(LedgerEntry, {"id": name, **entry}, where=f"{path}: {name}") for name, entry in read_yaml(path).items()
    )
