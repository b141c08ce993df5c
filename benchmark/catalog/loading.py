"""One paper's folder, read and validated file by file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.catalog.papers import LedgerEntry, NamedModel, Paper, Protocol
from benchmark.catalog.provenance import Origin, merge, split_tags
from benchmark.catalog.reading import pick, read_csv, read_yaml, validate
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
        protocols=_load_protocols(folder / "protocols.yaml", others or {}, default),
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


def _load_protocols(path: Path, others: Mapping[str, Path], default: Origin | None) -> dict[str, Protocol]:
    trees = read_yaml(path) if path.is_file() or default is None else {}
    found = {}
    for name in trees:
        tree, base = _inherit(name, trees, path)
        if base is not None:
            tree = merge(_inherit_from(base, others, path), tree)
        found[name] = _load_protocol(name, tree, path, default)
    return found


def _inherit(
    name: str, trees: dict[str, Any], path: Path, seen: tuple[str, ...] = ()
) -> tuple[dict[str, Any], str | None]:
    """The tree of a protocol over those of this file that it `extends`, and what of another paper these extend."""
    if name not in trees or name in seen:
        raise InputError(
            f"a protocol cannot extend {name!r}", where=path, expected="another protocol of this file", found=seen
        )
    tree = dict(trees[name])
    base = tree.pop("extends", None)
    if base is None or "/" in base:
        return tree, base
    below, other = _inherit(base, trees, path, (*seen, name))
    return merge(below, tree), other


def _inherit_from(base: str, others: Mapping[str, Path], path: Path) -> dict[str, Any]:
    """The tree of a protocol of another paper, given as paper/protocol."""
    paper, _, name = base.partition("/")
    file = pick(others, paper, "paper in `extends`", path) / "protocols.yaml"
    trees = read_yaml(file)
    pick(trees, name, f"protocol of {paper} in `extends`", path)
    return _inherit(name, trees, file)[0]


def _load_protocol(name: str, tree: dict[str, Any], path: Path, default: Origin | None) -> Protocol:
    tagged = {key: value for key, value in tree.items() if key not in ("dataset", "demo")}
    values, origins = split_tags(tagged, where=str(path), key="", default=default)
    fields = {"name": name, "labels": None, "dataset": tree.get("dataset"), "demo": tree.get("demo", {}), **values}
    return validate(Protocol, {**fields, "origins": origins}, where=f"{path}: {name}")


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
