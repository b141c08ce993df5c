"""What one check of the audit found, and how a computed value is compared with the printed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from benchmark.audit.arithmetic import Quantity, gap
from benchmark.catalog.published import Interval, parse_published
from benchmark.catalog.statements import PublishedCell


class Agreement(StrEnum):
    """`AGREES`: the digits are what the parts give. `ROUNDING`: they differ, and rounding of the parts explains it."""

    AGREES = "agrees"
    ROUNDING = "rounding explains it"
    DISAGREES = "does not add up"
    NOTABLE = "worth a look"
    UNREADABLE = "cannot be checked"


class Contradiction(NamedTuple):
    """A published cell that the paper itself contradicts, and where: a line of contradictions.csv."""

    target: str
    row: str
    column: str
    finding: str


@dataclass(frozen=True)
class Finding:
    """One check.

    Attributes:
        paper, check: where, and what was recomputed.
        subject: the sentence, or the printed cell that was checked.
        cells: the cells it rests on.
        expected, printed: both sides as text, computed values with the interval they can lie in.
        difference: printed minus expected, nominal; empty where it has no meaning.
        note: what a reader should know.
        contradictions: cells that the paper itself contradicts.
        rests_on: every cell of a statement, where `cells` names groups of them.
    """

    paper: str
    check: str
    subject: str
    cells: tuple[str, ...]
    expected: str
    printed: str
    outcome: Agreement
    difference: str = ""
    note: str = ""
    contradictions: tuple[Contradiction, ...] = ()
    rests_on: tuple[str, ...] = ()


def quantity(cell: PublishedCell) -> Quantity | None:
    """The printed number of a cell in its printed unit; None where there is none to read."""
    published = parse_published(cell.claim.value, unreadable=cell.claim.value == "unreadable")
    if published.kind != "number" or published.value is None:
        return None
    return Quantity(published.value, published.interval(cell.column.rounding))


def stated(text: str) -> Quantity:
    """A number of the text, rounded to the nearest. Raises ValueError if it is none."""
    published = parse_published(text)
    if published.value is None:
        raise ValueError(f"{text!r} is not a number")
    return Quantity(published.value, published.interval())


def compare(expected: Quantity, printed: Quantity) -> tuple[Agreement, str]:
    """Agreement and nominal difference of a computed and a printed value."""
    delta = printed.nominal - expected.nominal
    if printed.interval.contains(expected.nominal):
        outcome = Agreement.AGREES
    elif gap(expected.interval, printed.interval) == 0:
        outcome = Agreement.ROUNDING
    else:
        outcome = Agreement.DISAGREES
    return outcome, plain(delta, signed=True)


def arithmetic(
    *,
    paper: str,
    check: str,
    subject: str,
    parts: Sequence[PublishedCell],
    expected: Quantity,
    printed: Quantity,
    verbatim: str,
    note: str = "",
    contradicted: Sequence[tuple[PublishedCell, str]] = (),
) -> Finding:
    """A finding of `compare`; `contradicted` cells, with the reason, count only where it does not add up.

    `verbatim` is the printed number as it stands in the paper, trailing zeros and unit included.
    """
    outcome, delta = compare(expected, printed)
    return Finding(
        paper=paper,
        check=check,
        subject=subject,
        cells=tuple(map(str, parts)),
        expected=describe(expected),
        printed=_with_span(verbatim, printed.interval),
        outcome=outcome,
        difference=delta,
        note=note,
        contradictions=_contradictions(contradicted) if outcome is Agreement.DISAGREES else (),
    )


def _contradictions(cells: Sequence[tuple[PublishedCell, str]]) -> tuple[Contradiction, ...]:
    return tuple(Contradiction(cell.target, cell.claim.row, cell.claim.column, why) for cell, why in cells)


def describe(value: Quantity) -> str:
    return _with_span(plain(value.nominal), value.interval)


def _with_span(text: str, interval: Interval) -> str:
    """The number and what it stands for; alone where it is exact."""
    return text if interval.lower == interval.upper else f"{text} in {span(interval)}"


def span(interval: Interval) -> str:
    return f"[{plain(interval.lower)}, {plain(interval.upper)}{')' if interval.open_above else ']'}"


def plain(number: Decimal, *, signed: bool = False) -> str:
    """At most five decimals, without trailing zeros beyond the point."""
    text = f"{round(number, 5):f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"+{text}" if signed and number > 0 else text
