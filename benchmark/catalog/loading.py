"""One paper's folder, read and validated file by file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.catalog.papers import LedgerEntry, NamedModel, Paper, Protocol
from benchmark.catalog.protocols import load_protocols
from benchmark.catalog.provenance import Origin, split_tags
from benchmark.catalog.reading import read_csv, read_yaml, validate
from benchmark.catalog.targets import Extension, Target
from benchmark.errors import InputError, did_you_mean

CLAIM_COLUMNS = ["row", "column", "value", "stars", "marking"]
NOT_TARGETS = {"paper", "models", "protocols", "ledger"}


@dataclass(frozen=True)
class PaperFolder:
    """Everything in paper_tables/<paper>/."""

    paper: Paper
    models: dict[str, NamedModel]
    protocols: dict[str, Protocol]
    targets: dict[str, Target]
    ledger: tuple[LedgerEntry, ...]
    extensions: tuple[Extension, ...]
    folder: Path


def load_paper(folder: Path, others: Mapping[str, Path] | None = None) -> PaperFolder:
    """Read the folder of one paper; its protocols may extend those of `others` (paper → folder), as paper/protocol.

    Raises:
        InputError: a file is absent, misspelt, or inconsistent with itself.
    """
    paper = validate(Paper, read_yaml(folder / "paper.yaml"), where=str(folder / "paper.yaml"))
    if paper.paper != folder.name:
        raise InputError("a paper's folder has its name", where=folder, expected=paper.paper, found=folder.name)
    default = Origin("ours", paper.title) if paper.source == "ours" else None
    trees = {path: read_yaml(path) for path in sorted(folder.glob("*.yaml")) if path.stem not in NOT_TARGETS}
    targets = [_load_target(path, tree) for path, tree in trees.items() if "extend" not in tree]
    return PaperFolder(
        paper=paper,
        models=_load_models(folder / "models.yaml", default),
        protocols=load_protocols(folder / "protocols.yaml", others or {}, default),
        targets={target.target: target for target in targets},
        ledger=_load_ledger(folder / "ledger.yaml"),
        extensions=tuple(
            validate(Extension, tree, where=str(path)) for path, tree in trees.items() if "extend" in tree
        ),
        folder=folder,
    )


def _load_models(path: Path, default: Origin | None) -> dict[str, NamedModel]:
    models = {}
    for name, tree in read_yaml(path).items():
        tagged = {key: value for key, value in tree.items() if key not in ("model", "demo")}
        values, origins = split_tags(tagged, where=str(path), key=name, default=default)
        begins_from = values.pop("begins_from", {})
        spec = {"name": tree.get("model"), "demo": tree.get("demo"), **values}
        fields = {"spec": spec, "begins_from": begins_from, "origins": origins}
        models[name] = validate(NamedModel, fields, where=f"{path}: {name}")
    return models


def _load_target(path: Path, tree: dict[str, Any]) -> Target:
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
