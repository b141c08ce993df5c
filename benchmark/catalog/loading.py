"""One paper's folder, read and validated file by file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.catalog.papers import LedgerEntry, NamedModel, Paper, Protocol
from benchmark.catalog.provenance import merge, split_tags
from benchmark.catalog.reading import read_csv, read_yaml, validate
from benchmark.catalog.targets import Target
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


def load_paper(folder: Path) -> PaperFolder:
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
        begins_from = values.pop("begins_from", {})
        spec = {"name": tree.get("model"), "demo": tree.get("demo"), **values}
        fields = {"spec": spec, "begins_from": begins_from, "origins": origins}
        models[name] = validate(NamedModel, fields, where=f"{path}: {name}")
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
