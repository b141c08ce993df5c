"""Whether a result was made with the settings of today, by what its file says that it was made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmark import lineage
from benchmark.catalog.catalog import Catalog
from benchmark.files import read_json, value_digest
from benchmark.layout import Layout
from benchmark.scoring.conventions import convention_digests
from benchmark.settings import RunConfig, Scale


def scores_differ(catalog: Catalog, layout: Layout, run: str, scale: Scale, chain: str) -> str:
    """What has changed since the scores of a run were made; empty where nothing has, or where they were handed in.

    Args:
        layout: of the results folder, whose prepared store tells which references there are today.
        chain: what the score file says of the scores, the predictions and the training behind it, as JSON.
    """
    if not chain:
        return ""
    config, made = catalog.run(run, scale), json.loads(chain)
    rules = {f"convention.{name}": digest for name, digest in convention_digests(config.convention).items()}
    wanted = {**rules, **lineage.code("score"), **_references(config, layout)}
    return _difference(made["score"], wanted) or network_differs(catalog, run, scale, made)


def network_differs(catalog: Catalog, run: str, scale: Scale, made: Mapping[str, Any]) -> str:
    """The same for the predictions and the training that a result rests on, as far as it names them."""
    config, training = catalog.run(run, scale), catalog.training(run, scale)
    code = lineage.code("network", config.model.name)
    changed = ""
    if made.get("predict"):
        wanted = {**lineage.prediction_settings(config), **lineage.code("predict"), **code}
        changed = _difference(made["predict"], wanted)
    if not changed and made.get("train") and training is not None:
        wanted = {**lineage.training_settings(training), **lineage.code("train"), **code}
        changed = _difference(made["train"], wanted)
    return changed


def _references(config: RunConfig, layout: Layout) -> dict[str, str]:
    """Digest of the references of today; nothing where the store is not there."""
    try:
        split = read_json(layout.split(config.dataset))
        cases = config.inference.cases(split)
        folder = layout.prepared_for(config).removesuffix("prepared.json") + "cases"
        digests = {case: read_json(f"{folder}/{case}.json")["digests"]["reference"] for case in cases}
    except (OSError, ValueError, KeyError):
        return {}
    return {"references": value_digest(dict(sorted(digests.items())))}


def _difference(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Settings that a result lacks are differences; inputs that only it knows are not."""
    settings = {key: value for key, value in made.items() if key in wanted or key.split(".")[0] in OWN}
    return lineage.difference(settings, dict(wanted))


OWN = {"training", "model", "preparation", "inference", "convention", "code"}
