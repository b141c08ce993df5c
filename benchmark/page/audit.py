"""What in the papers does not add up, with the arithmetic, and everything else that was checked."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.audit.audit import OPEN, REMARKS
from benchmark.audit.findings import Agreement, Finding
from benchmark.page.material import Material
from benchmark.page.section import Section
from benchmark.page.templates import address, render
from benchmark.page.verdicts import KINDS

ORDER = (*OPEN, Agreement.AGREES)
UNREADABLE_MARK = "?"


def audit_section(material: Material) -> Section:
    """Findings by paper and outcome, in the order of audit.md; what agrees is folded away."""
    papers = [
        {
            "name": paper,
            "title": folder.paper.title,
            "groups": [
                _group(material, outcome, [finding for finding in found if finding.outcome is outcome])
                for outcome in ORDER
                if any(finding.outcome is outcome for finding in found)
            ],
        }
        for paper, folder in material.catalog.papers.items()
        if (found := [finding for finding in material.findings if finding.paper == paper])
    ]
    wrong = sum(finding.outcome is Agreement.DISAGREES for finding in material.findings)
    html = render("audit.html", papers=papers, number=len(material.findings), wrong=wrong)
    return Section("audit", "Audit", html)


def _group(material: Material, outcome: Agreement, findings: Sequence[Finding]) -> dict[str, object]:
    known, checks = KINDS.get(str(outcome)), {finding.check for finding in findings}
    return {
        "outcome": str(outcome),
        "mark": known.mark if known else UNREADABLE_MARK,
        "remarks": [f"{check[0].upper()}{check[1:]}: {REMARKS[check]}" for check in REMARKS if check in checks],
        "open": outcome is Agreement.DISAGREES,
        "findings": [
            {
                "finding": finding,
                "subject": _reference(material, finding.subject),
                "cells": [_reference(material, cell) for cell in finding.cells],
            }
            for finding in findings
        ],
    }


def _reference(material: Material, text: str) -> tuple[str, str]:
    """Cells "target > row > column" as readers know them, and where they are shown; other text as it is."""
    name, _, cell = text.partition(" > ")
    row, _, column = cell.rpartition(" > ")
    target = material.catalog.targets.get(name)
    if target is None:
        return text, ""
    if target.claim(row, column) is None:  # several, abridged
        return f"{target.number}, {cell.replace(' > ', ', ')}", address("tables", name)
    return f"{target.number}, {row}, {column}", address("tables", name, row, column)
