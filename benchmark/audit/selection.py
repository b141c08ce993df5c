"""Which findings of the audit concern a paper, a target, a row or a cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from benchmark.audit.findings import Finding
from benchmark.catalog.catalog import Catalog
from benchmark.catalog.derivation import check_names
from benchmark.errors import InputError, did_you_mean

PARTS = " > "


class Selection(NamedTuple):
    """A paper, or a target with or without row and column; all empty for everything."""

    paper: str = ""
    target: str = ""
    row: str = ""
    column: str = ""


def read_selection(catalog: Catalog, words: Sequence[str]) -> Selection:
    """`PAPER`, `TARGET`, `TARGET ROW`, `TARGET ROW COLUMN`, or the last three in one word as `target > row > column`.

    Raises:
        InputError: there is no such paper, target, row or column; the message names the nearest.
    """
    parts = [part.strip() for part in words[0].split(PARTS)] if len(words) == 1 else list(words)
    if not parts:
        return Selection()
    if len(parts) == 1 and parts[0] in catalog.papers:
        return Selection(paper=parts[0])
    if parts[0] not in catalog.targets:
        choices = [*catalog.papers, *catalog.targets] if len(parts) == 1 else list(catalog.targets)
        kind = "paper or target" if len(parts) == 1 else "target"
        raise InputError(
            f"unknown {kind} {parts[0]!r}{did_you_mean(parts[0], choices)}", expected="one of " + ", ".join(choices)
        )
    if len(parts) > 3:
        raise InputError("not a cell", expected="target, row, column", found=PARTS.join(parts))
    check_names(catalog.target(parts[0]), *parts[1:])
    return Selection("", *parts)


def concerning(findings: Iterable[Finding], chosen: Selection) -> list[Finding]:
    """The findings whose subject is in the selection, or that rest on a cell in it."""
    return [finding for finding in findings if _concerns(finding, chosen)]


def _concerns(finding: Finding, chosen: Selection) -> bool:
    if not chosen.target:
        return chosen.paper in ("", finding.paper)
    return any(_is_in(cell, chosen) for cell in (finding.subject, *finding.cells, *finding.rests_on))


def _is_in(cell: str, chosen: Selection) -> bool:
    """Whether `target > row > column`, perhaps with a run in brackets behind it, is in the selection."""
    wanted = PARTS.join(part for part in chosen[1:] if part)
    return cell == wanted or cell.startswith((f"{wanted}{PARTS}", f"{wanted} ("))
