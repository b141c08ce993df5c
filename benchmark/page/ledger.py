"""Where paper and released code differ: as written, as released, the evidence, and which one is run by default."""

from __future__ import annotations

from benchmark.catalog.papers import LedgerEntry
from benchmark.page.material import Material
from benchmark.page.section import Section
from benchmark.page.templates import address, render

DEFAULTS = {
    "as_written": "as written",
    "as_released": "as released",
    "neither": "neither",
}


def ledger_section(material: Material) -> Section:
    """Entries of ledger.yaml, by paper and in its order."""
    papers = [
        {
            "name": paper,
            "title": folder.paper.title,
            "repository": f"{folder.paper.repository} @{folder.paper.commit[:7]}".removesuffix(" @"),
            "entries": [(entry, DEFAULTS[entry.default], _concerned(material, entry)) for entry in folder.ledger],
        }
        for paper, folder in material.catalog.papers.items()
    ]
    number = sum(len(folder.ledger) for folder in material.catalog.papers.values())
    return Section("ledger", "Ledger", render("ledger.html", papers=papers, number=number))


def _concerned(material: Material, entry: LedgerEntry) -> list[tuple[str, str]]:
    """What an entry concerns, with the address of the tables among it."""
    names = []
    for name in entry.concerns:
        target = material.catalog.targets.get(name)
        shown = f"{material.short_title(target.paper)}, {target.number}" if target else name
        names.append((shown, address("tables", name) if name in material.tables else ""))
    return names
