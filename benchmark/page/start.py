"""The page's first part: what this results folder is, how to read it, and a card per paper."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone
from urllib.parse import urlencode

from benchmark.audit.findings import Agreement
from benchmark.catalog.papers import Paper
from benchmark.evidence.markdown import BANNERS
from benchmark.page.claims import Claimed
from benchmark.page.material import Material
from benchmark.page.section import Section
from benchmark.page.templates import render
from benchmark.page.verdicts import KINDS
from benchmark.version import code_version

SCALES = {
    "paper": "the papers' scale",
    "pilot": "pilot: a share of the steps",
    "demo": "demo: narrowed networks on generated phantoms",
}
NO_RUN = "from the claims alone: nothing was run; parameters and FLOPs as counted in paper_tables/*/measured"


def start_section(material: Material, claims: Sequence[Claimed]) -> Section:
    """Cards count every published cell once; sentences are counted by the audit's outcome."""
    cards = [
        {
            "name": paper,
            "title": folder.paper.title,
            "about": _about(folder.paper),
            "short": material.short_title(paper),
            "counts": _counts(material, paper, claims),
            "cells": sum(claim.paper == paper and claim.kind == "cell" for claim in claims),
            "contradicted": len({(found.target, found.row, found.column) for found in material.contradictions
                                 if material.catalog.target(found.target).paper == paper}),
            "wrong": sum(finding.paper == paper and finding.outcome is Agreement.DISAGREES
                         for finding in material.findings),
            "tables": [target for target in folder.targets.values() if target.target in material.tables],
        }
        for paper, folder in material.catalog.papers.items()
    ]  # fmt: skip
    html = render(
        "start.html",
        cards=cards,
        facts=facts(material),
        stamp=stamp(material),
        kinds=[kind for kind in KINDS.values() if any(claim.verdict == kind.name for claim in claims)],
    )
    return Section("start", "Start", html)


def _about(paper: Paper) -> str:
    first = paper.authors[0] + (" et al." if len(paper.authors) > 1 else "")
    return f"{first}, {paper.venue} {paper.year}"


def _counts(material: Material, paper: str, claims: Sequence[Claimed]) -> list[tuple[object, int, str]]:
    """(kind, number, address of these lines) for the cells of a paper, in the order of KINDS."""
    count = Counter(claim.verdict for claim in claims if claim.paper == paper and claim.kind == "cell")
    title = material.short_title(paper)
    return [
        (kind, count[name], "#claims?" + urlencode({"paper": title, "kind": "cell", "verdict": name}))
        for name, kind in KINDS.items()
        if count[name]
    ]


def facts(material: Material) -> dict[str, str]:
    """What this results folder is, in the order in which a reader asks."""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"
    share = f" ({material.catalog.share:.0%})" if material.scale == "pilot" else ""
    return {
        "Results": NO_RUN if material.published else SCALES[material.scale] + share,
        "Code": f"Retable {code_version()}",
        "Page made on": f"{machine}, Python {platform.python_version()}",
        "Date": _now().strftime("%Y-%m-%d %H:%M UTC"),
    }


def _now() -> datetime:
    """The time of day, or what SOURCE_DATE_EPOCH says it is (reproducible-builds.org)."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(fixed), timezone.utc) if fixed else datetime.now(timezone.utc)  # noqa: UP017


def stamp(material: Material) -> str:
    """What stands on everything that is not at the papers' scale; empty at that scale."""
    return BANNERS.get(material.scale, "").replace("> ", "").replace("**", "").replace("\n", " ")
