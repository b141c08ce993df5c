"""What does not exist yet, so that the list can only shrink.

`pending.yaml` names every network, dataset and way of training that the catalog asks for in vain. When
one has landed, `python tests/catalog/test_pending.py` takes it from the list (and refuses to add any).
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from benchmark.catalog import load_catalog
from benchmark.catalog.catalog import ENGINES
from benchmark.datasets import available_datasets
from benchmark.models.registry import available_models

LIST = Path(__file__).with_name("pending.yaml")
REMEDY = "python tests/catalog/test_pending.py"


def pending() -> dict[str, list[str]]:
    """Sorted names by kind."""
    catalog = load_catalog()
    found: dict[str, set[str]] = {"networks": set(), "datasets": set(), "training": set()}
    for run in {run for target in catalog.targets.values() for run in catalog.runs(target)}:
        config = catalog.run(run)
        paper, protocol = run.split("/")[:2]
        found["networks"].update({config.model.name} - set(available_models()))
        found["datasets"].update({config.dataset} - set(available_datasets()))
        found["training"].update({catalog.papers[paper].protocols[protocol].engine} - ENGINES)
    return {kind: sorted(names) for kind, names in found.items()}


def listed() -> dict[str, list[str]]:
    return yaml.safe_load(LIST.read_text(encoding="utf-8"))


def test_nothing_new_is_pending() -> None:
    known = listed()
    new = {kind: sorted(set(names) - set(known[kind])) for kind, names in pending().items()}
    assert not any(new.values()), f"these have become unavailable: {new}"


def test_what_has_landed_is_off_the_list() -> None:
    now = pending()
    landed = {kind: sorted(set(names) - set(now[kind])) for kind, names in listed().items()}
    assert not any(landed.values()), f"no longer pending: {landed}; run: {REMEDY}"


def test_every_pending_run_says_why() -> None:
    catalog, now = load_catalog(), pending()
    reasons = {
        reason
        for target in catalog.targets.values()
        for run in catalog.runs(target)
        if (reason := catalog.pending(run))
    }
    assert bool(reasons) == any(now.values())
    assert all("not yet available" in reason for reason in reasons)


if __name__ == "__main__":
    now, before = pending(), listed() if LIST.exists() else pending()
    new = {kind: sorted(set(names) - set(before[kind])) for kind, names in now.items()}
    if any(new.values()):
        sys.exit(f"the list can only shrink; these have become unavailable: {new}")
    LIST.write_text(yaml.safe_dump(now, sort_keys=False), encoding="utf-8")
    print({kind: len(names) for kind, names in now.items()})
