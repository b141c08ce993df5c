"""What every target would cost at the papers' scale, and what has to be there first: weights, data sets, accounts."""

from __future__ import annotations

from pathlib import Path

from benchmark.cost.budget_page import INTRODUCTION, datasets_of, disk
from benchmark.cost.plan import HEADER, footnotes, size, target_cells
from benchmark.cost.planner import Planner, RunPlan, totals
from benchmark.models.released import weight_source
from benchmark.page.material import Material
from benchmark.page.section import Section
from benchmark.page.templates import address, render


def budget_section(material: Material) -> Section:
    """The estimates of budget.csv, by target; data sets and weights say whether this results folder has them."""
    planner = Planner(material.catalog)
    plans = planner.runs(material.catalog.targets)
    html = render(
        "budget.html",
        introduction=INTRODUCTION,
        header=[*HEADER[1:], "download", "needs"],
        papers=[
            (folder.paper.title, [_target(material, planner, name) for name in folder.targets])
            for folder in material.catalog.papers.values()
        ],
        together=totals(plans),
        datasets=[_dataset(material, planner, name) for name in datasets_of(plans)],
        weights=_weights(material, plans),
        notes=footnotes(plans, planner.speed),
    )
    return Section("budget", "Budget and plan", html)


def _target(material: Material, planner: Planner, name: str) -> dict[str, object]:
    target, plans = material.catalog.target(name), planner.runs([name])
    weights = sorted({plan.weights for plan in plans} - {""})
    needs = [planner.source(dataset).title for dataset in datasets_of(plans)] + [f"weights {one}" for one in weights]
    return {
        "name": f"{target.number}: {target.title}",
        "address": address("tables", name) if name in material.tables else "",
        "cells": [*target_cells(planner, name)[1:], size(disk(planner, datasets_of(plans))[0])],
        "needs": "; ".join(needs) or "nothing to run",
    }


def _dataset(material: Material, planner: Planner, name: str) -> list[str]:
    source = planner.source(name)
    return [
        source.title,
        _at_hand(material, material.layout.source(name)),
        size(source.download_bytes),
        source.licence,
        source.account or "none",
        source.note,
    ]


def _weights(material: Material, plans: list[RunPlan]) -> list[list[str]]:
    names = sorted({name for plan in plans for name in plan.weights})
    sources = [(name, weight_source(name)) for name in names]
    return [
        [name, _at_hand(material, material.layout.weights(name)), source.file, size(source.bytes), source.licence]
        for name, source in sources
    ]


def _at_hand(material: Material, record: str) -> str:
    if not material.linked:
        return "not looked for"
    return "yes" if Path(record).is_file() else "no"
