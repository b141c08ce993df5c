"""What made a result: every setting, input and piece of code that decides it, as one flat dictionary with a digest.

Each stage writes such a dictionary (`made`) beside its result, where the digests of the stages before it are values
among others. So a result is current exactly when the dictionary that its settings, inputs and code give today is the
one that was written, and where it is not, the keys that differ say why.

Code counts by its *result version*: a number per stage, network and dataset in result_versions.yaml, which is raised
when results change. What is not listed there (a user's own file) counts by its syntax tree, so that a comment changes
nothing. With the environment variable RETABLE_STRICT every file of the package counts by its syntax tree.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from benchmark.files import file_digest, load_yaml, read_json, value_digest
from benchmark.own import Kind, own_files
from benchmark.settings import RunConfig
from benchmark.settings.folds import whole_of

PACKAGE = Path(__file__).resolve().parent
STRICT = "RETABLE_STRICT"
# How often something is looked at or saved, and on how many GPUs, decides no weight.
NOT_DECISIVE = {"training.checkpoint_interval", "training.validation_interval", "training.devices"}
# What the facts of a dataset say to people, and who is tested: no prepared case depends on it.
NOT_PREPARED = frozenset(
    ["title", "licence", "homepage", "obtain", "folder", "splits_file", "fold", "folds", "seed", "validation"]
)
SHOWN = 3

Made = dict[str, Any]
FileContent = tuple[int, int, str]  # size, time of change in nanoseconds, SHA-256


def flat(value: Any, prefix: str = "") -> Made:
    """Nested mappings as one of dotted keys; an empty mapping stays a value."""
    if not isinstance(value, Mapping) or not value:
        return {prefix: value}
    return {
        key: leaf
        for name, inner in value.items()
        for key, leaf in flat(inner, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def training_settings(config: RunConfig) -> Made:
    """The settings that decide trained weights; those of prediction and scoring do not."""
    settings = json.loads(config.model_dump_json(exclude={"convention", "trained_by", "begins_from"}))
    axis = settings.pop("inference")["slice_axis"]
    if config.joint:
        settings = {key: value for key, value in settings.items() if key not in ("dataset", "labels", "preparation")}
    found = flat({**settings, "slice_axis": axis})
    return {key: value for key, value in found.items() if key not in NOT_DECISIVE}


def prediction_settings(config: RunConfig) -> Made:
    """The settings that decide label maps, given the weights."""
    patch = config.inference.patch or config.training.patch
    settings = {**config.inference.model_dump(mode="json"), "patch": list(patch)}
    return flat({"inference": settings, "scale": config.scale})


def trained(config: RunConfig, *, data: Mapping[str, str], begins_from: Mapping[str, str]) -> Made:
    """What makes the weights of a training.

    Args:
        config: of the training.
        data: prepared store → digest of its training cases.
        begins_from: part of the network → digest of what it begins from.
    """
    return {
        **training_settings(config),
        **{f"data.{store}": digest for store, digest in data.items()},
        **{f"begins_from.{part}": digest for part, digest in begins_from.items()},
        **code("train"),
        **code("network", config.model.name),
    }


def prompts(config: RunConfig, *, references: str) -> Made:
    """What makes the points that the networks of a store are told; `references` is the digest of the cases' labels."""
    settings = {"slice_axis": config.inference.slice_axis, "point": config.inference.point}
    return {"references": references, **settings, **code("prompts")}


def predicted(config: RunConfig, *, weights: str, data: str, prompts: str | None = None) -> Made:
    """What makes the label maps of a run; `weights`, `data` and `prompts` are the digests of the weights, of its cases
    and of the points that it is told."""
    made = {"weights": weights, "data": data, **prediction_settings(config)}
    made |= {} if prompts is None else {"prompts": prompts}
    return {**made, **code("predict"), **code("network", config.model.name)}


def receptive_field(config: RunConfig, *, weights: str, data: str, options: str) -> Made:
    """What makes a map of a receptive field; `options` are those of the command."""
    made = {"weights": weights, "data": data, "options": options, "training.patch": list(config.training.patch)}
    return {**made, **code("receptive_field"), **code("network", config.model.name)}


def features(config: RunConfig, *, weights: str, data: str, options: str) -> Made:
    """What makes the pictures of a network's features; `options` are those of the command."""
    made = {"weights": weights, "data": data, "options": options, **prediction_settings(config)}
    return {**made, **code("features"), **code("network", config.model.name)}


def reconstruction(config: RunConfig, *, weights: str, data: str) -> Made:
    """What makes the sheet of images that a training on masked images fills in."""
    made = {"weights": weights, "data": data, "training.patch": list(config.training.patch)}
    return {**made, **code("reconstruction"), **code("network", config.model.name)}


def counted(config: RunConfig) -> Made:
    """What decides the parameters and operations of a run's network: the network, and the size of its input."""
    made = {
        **flat({"model": config.model.model_dump(mode="json", exclude={"initialisation", "also", "demo"})}),
        "training.patch": list(config.training.patch),
        "deep_supervision": config.training.loss.deep_supervision is not None,
        "dataset": config.dataset,
        "labels": config.labels and list(config.labels),
        **({"heads": list(config.heads)} if config.heads else {}),
    }
    return {**made, **code("cost"), **code("network", config.model.name)}


def timed(config: RunConfig) -> Made:
    """What decides the time of one scan on a given machine: the network, its input, and how windows are laid."""
    return {**counted(config), **flat({"inference": config.inference.model_dump(mode="json")}), **code("predict")}


def scored(*, predictions: str, references: str, conventions: Mapping[str, str]) -> Made:
    """What makes scores: digests of predictions and references, and of each convention by name."""
    rules = {f"convention.{name}": digest for name, digest in conventions.items()}
    return {"predictions": predictions, "references": references, **rules, **code("score")}


def case_pictures(*, scores: str) -> Made:
    """What makes the pictures of a run's cases; `scores` is the digest of its scores, which rest on all that is shown
    and say which cases are."""
    return {"scores": scores, **code("case_pictures")}


def released_parts(config: RunConfig) -> tuple[str, ...]:
    """Under what name each of the released files counts that a training begins from."""
    return tuple("released" if not place else f"released{place + 1}" for place in range(len(config.model.released)))


def released_digest(name: str) -> str:
    """Of released weights: which file that is, `fetch-weights` settles and holds to."""
    return value_digest(["released", name])


def prepared_case(store: Made, *, part: str, patch: Any, files: Mapping[str, str]) -> str:
    """Digest of one prepared case: the store's settings, the split that it is in, and the content of its raw files."""
    return value_digest([store, part, patch, dict(files)])


def digest_of(made: Made) -> str:
    return value_digest(made)


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which keys changed, as a person reads it: "training.epochs: 4, now 8"; empty where nothing did."""
    keys = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    shown = [f"{key}: {_short(before.get(key))}, now {_short(now.get(key))}" for key in keys[:SHOWN]]
    return "; ".join([*shown, *([f"{len(keys) - SHOWN} more"] if len(keys) > SHOWN else [])])


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= 40 else text[:37] + "…"


def read_made(record: str | Path) -> Made | None:
    """What a record (any JSON file with the key `made`) says of its result; None where there is no readable one."""
    try:
        made = read_json(record)["made"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return made if isinstance(made, dict) else None


def recorded_digest(record: str | Path) -> str:
    """Of what a record says; of a file that says nothing, because it was made elsewhere, its SHA-256."""
    made = read_made(record)
    return file_digest(Path(record)) if made is None else digest_of(made)


# What was made elsewhere


def contents(folder: Path, known: Mapping[str, FileContent] | None = None) -> dict[str, FileContent]:
    """Name → size, time of change in nanoseconds and SHA-256, of every file of a folder; empty where it is not there.

    Args:
        known: an earlier answer. A file whose size and time are the same is not read again.
    """
    found: dict[str, FileContent] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name, stat = path.relative_to(folder).as_posix(), path.stat()
            *seen, digest = (known or {}).get(name, (None, None, ""))
            unchanged = seen == [stat.st_size, stat.st_mtime_ns]
            found[name] = stat.st_size, stat.st_mtime_ns, digest if unchanged else file_digest(path)
    return found


def contents_digest(files: Mapping[str, FileContent]) -> str:
    """Of names and bytes; times of files do not count."""
    return value_digest({name: digest for name, (_, _, digest) in files.items()})


# Code


def code(kind: str, name: str | None = None) -> Made:
    """Version of a stage ("train"), or of one network or dataset (`kind` "network" or "dataset", with its name)."""
    key = f"code.{kind}.{name}" if name else f"code.{kind}"
    if os.environ.get(STRICT):
        return {key: _whole_package()}
    listed = result_versions()
    versions = listed[f"{kind}s"] if name else listed["stages"]
    found = versions.get(whole_of(name) if name else kind)
    return {key: found if found is not None else _syntax_of(kind, whole_of(str(name)))}


@cache
def result_versions() -> dict[str, dict[str, int]]:
    """Content of result_versions.yaml: stages, networks and datasets, each name with its version."""
    return load_yaml(PACKAGE.joinpath("result_versions.yaml").read_text(encoding="utf-8"))


@cache
def _syntax_of(kind: str, name: str) -> str:
    """Of a network or dataset that is not listed: its module, and the yaml of a dataset's facts."""
    kinds: dict[str, tuple[str, Kind]] = {"network": ("models", "networks"), "dataset": ("datasets", "datasets")}
    ours, own = kinds[kind]
    module, facts = (
        own_files(own, ending).get(name, PACKAGE / ours / f"{name}{ending}") for ending in (".py", ".yaml")
    )
    parts = [syntax_digest(module)] if module.is_file() else []
    content = load_yaml(facts.read_text(encoding="utf-8")) if facts.is_file() else None
    if kind == "dataset" and isinstance(content, dict):
        content = {key: value for key, value in content.items() if key not in NOT_PREPARED}
    return value_digest([*parts, content])


@cache
def _whole_package() -> str:
    return value_digest({str(path.relative_to(PACKAGE)): syntax_digest(path) for path in sorted(PACKAGE.rglob("*.py"))})


def syntax_digest(path: Path) -> str:
    """Digest of a Python file's syntax tree: comments and layout do not count."""
    tree = ast.dump(ast.parse(path.read_text(encoding="utf-8")))
    return hashlib.sha256(tree.encode()).hexdigest()[:16]
