"""Sentences recomputed from the cells they rest on. One function per kind of statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from benchmark.audit.arithmetic import (
    Quantity,
    difference,
    gap,
    mean,
    ratio,
    relative_gain,
    scaled,
    total,
)
from benchmark.audit.findings import (
    Agreement,
    Finding,
    arithmetic,
    describe,
    plain,
    quantity,
    stated,
)
from benchmark.catalog.catalog import Catalog
from benchmark.catalog.statements import PublishedCell, Statement, load_statements, select

HUNDRED = Decimal(100)


class Unreadable(Exception):
    """A cell that a statement rests on cannot be read."""


def statement_findings(catalog: Catalog) -> Iterator[Finding]:
    """One finding per statement of every paper."""
    for statement in load_statements(catalog):
        groups = [select(catalog, reference, _columns(statement)) for reference in statement.cells]
        try:
            finding = CHECKS[statement.kind](statement, groups)
        except Unreadable as error:
            finding = _finding(
                statement, groups, Agreement.UNREADABLE, expected="", printed=statement.value, note=str(error)
            )
        yield replace(finding, rests_on=tuple(str(cell) for group in groups for cell in group))


def _columns(statement: Statement) -> str | None:
    return statement.cells[0].column if statement.cells else None


def _number(cell: PublishedCell) -> Quantity:
    found = quantity(cell)
    if found is None:
        raise Unreadable(f"no number in {cell}")
    if not cell.target:  # a number that the text gives outright, such as 1000 epochs, was not rounded
        return Quantity(found.nominal, type(found.interval)(found.nominal, found.nominal))
    return found


def _first(groups: Sequence[Sequence[PublishedCell]]) -> list[Quantity]:
    return [_number(group[0]) for group in groups]


def _in_percent(statement: Statement, groups: Sequence[Sequence[PublishedCell]], value: Quantity) -> Quantity:
    """Fractions are compared in points where the sentence has a percent sign."""
    as_fraction = "%" in statement.value and groups[0][0].column.unit != "%"
    return scaled(value, HUNDRED) if as_fraction else value


def _finding(
    statement: Statement,
    groups: Sequence[Sequence[PublishedCell]],
    outcome: Agreement,
    *,
    expected: str,
    printed: str,
    note: str = "",
) -> Finding:
    return Finding(
        paper=statement.paper,
        check=f"statement: {statement.kind}",
        subject=statement.text,
        cells=tuple(_short(groups)),
        expected=expected,
        printed=printed,
        outcome=outcome,
        note=note,
    )


def _short(groups: Sequence[Sequence[PublishedCell]]) -> Iterator[str]:
    for group in groups:
        yield str(group[0]) if len(group) == 1 else f"{group[0]} … ({len(group)} cells)"


def _computed(statement: Statement, groups: list[list[PublishedCell]], expected: Quantity) -> Finding:
    finding = arithmetic(
        paper=statement.paper,
        check=f"statement: {statement.kind}",
        subject=statement.text,
        parts=[],
        expected=expected,
        printed=stated(statement.value),
        verbatim=statement.value,
    )
    return replace(finding, cells=tuple(_short(groups)))


def _quote(statement: Statement, groups: list[list[PublishedCell]]) -> Finding:
    return _computed(statement, groups, _in_percent(statement, groups, _number(groups[0][0])))


def _difference(statement: Statement, groups: list[list[PublishedCell]]) -> Finding:
    return _computed(statement, groups, _in_percent(statement, groups, difference(*_first(groups))))


def _ratio(statement: Statement, groups: list[list[PublishedCell]]) -> Finding:
    return _computed(statement, groups, ratio(*_first(groups)))


def _relative_gain(statement: Statement, groups: list[list[PublishedCell]]) -> Finding:
    return _computed(statement, groups, relative_gain(*_first(groups)))


def _mean_relative_gain(statement: Statement, groups: list[list[PublishedCell]]) -> Finding:
    numbers = _first(groups)
    gains = [relative_gain(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
    finding = _computed(statement, groups, mean(gains))
    each = ", ".join(plain(round(gain.nominal, 2), signed=True) for gain in gains)
    return replace(finding, note=f"gains of the single datasets: {each} %")


def _share_of_mean(statement: Statement, groups: list[list[PublishedCell]]) -> Finding:
    others = [_number(cell) for group in groups[1:] for cell in group]
    share = scaled(ratio(_number(groups[0][0]), mean(others)), HUNDRED)
    each = ", ".join(plain(round(HUNDRED * ratio(_number(groups[0][0]), other).nominal, 0)) for other in others)
    return replace(_computed(statement, groups, share), note=f"shares of the single ones: {each} %")


def _sum(statement: Statement, groups: list[list[PublishedCell]]) -> Finding:
    return _computed(statement, groups, total(_first(groups)))


def _same(statement: Statement, groups: list[list[PublishedCell]]) -> Finding:
    one, other = _first(groups)
    return arithmetic(
        paper=statement.paper,
        check=f"statement: {statement.kind}",
        subject=statement.text,
        parts=[group[0] for group in groups],
        expected=other,
        printed=one,
        verbatim=groups[0][0].claim.value,
    )


def _pairs(groups: list[list[PublishedCell]]) -> Iterator[tuple[PublishedCell, PublishedCell, bool | None]]:
    """Subject, rival of the same column, and whether the subject's printed number is better; None where equal."""
    subjects = {(cell.target, cell.claim.row, cell.claim.column) for cell in groups[0]}
    rivals = [cell for group in groups[1:] for cell in group]
    for subject in groups[0]:
        for rival in rivals:
            key = (rival.target, rival.claim.row, rival.claim.column)
            if rival.claim.column == subject.claim.column and key not in subjects:
                yield subject, rival, _better(subject, rival)


def _better(subject: PublishedCell, rival: PublishedCell) -> bool | None:
    one, other = _number(subject).nominal, _number(rival).nominal
    if one == other:
        return None
    return (one > other) == (subject.column.better != "lower")


def _outperforms(statement: Statement, groups: list[list[PublishedCell]]) -> Finding:
    pairs = list(_pairs(groups))
    lost = [(subject, rival) for subject, rival, better in pairs if better is False]
    ties = [(subject, rival) for subject, rival, better in pairs if better is None]
    outcome = Agreement.DISAGREES if lost else Agreement.ROUNDING if ties else Agreement.AGREES
    shown = (f"{_in_words(one)} against {_in_words(other)}" for one, other in (lost or ties)[:3])
    return _finding(
        statement, groups, outcome,
        expected=f"better in all {len(pairs)} comparisons" if len(pairs) > 1 else "better in the one comparison",
        printed=f"better in {len(pairs) - len(lost) - len(ties)}",
        note="; ".join(shown) + (f"; … ({len(lost)} in all)" if len(lost) > 3 else ""),
    )  # fmt: skip


def _in_words(cell: PublishedCell) -> str:
    return f"{cell.claim.row} {cell.claim.column} {cell.claim.value}"


def _rank(statement: Statement, groups: list[list[PublishedCell]]) -> Finding:
    ahead = [rival for _, rival, better in _pairs(groups) if better is False]
    rank, wanted = len(ahead) + 1, int(statement.value)
    return _finding(
        statement, groups, Agreement.AGREES if rank == wanted else Agreement.DISAGREES,
        expected=f"place {wanted}",
        printed=f"place {rank} with {groups[0][0].claim.value}",
        note="ahead: " + "; ".join(map(_in_words, ahead[:3])) if rank > wanted else "",
    )  # fmt: skip


def _count(statement: Statement, groups: list[list[PublishedCell]]) -> Finding:
    columns = {subject.claim.column: True for subject in groups[0]}
    for subject, _, better in _pairs(groups):
        columns[subject.claim.column] &= better is True
    won = sum(columns.values())
    return _finding(
        statement, groups, Agreement.AGREES if won == int(statement.value) else Agreement.DISAGREES,
        expected=f"{won} of {len(columns)}", printed=statement.value,
        note="not in " + ", ".join(name for name, best in columns.items() if not best),
    )  # fmt: skip


def _range(statement: Statement, groups: list[list[PublishedCell]]) -> Finding:
    margins = [
        _in_percent(statement, groups, difference(_number(subject), _number(rival)))
        for subject, rival, _ in _pairs(groups)
    ]
    ends = [min(margins, key=lambda margin: margin.nominal), max(margins, key=lambda margin: margin.nominal)]
    printed = [stated(part) for part in statement.value.split(" to ")]
    gaps = [gap(end.interval, said.interval) for end, said in zip(ends, printed, strict=True)]
    inside = all(said.interval.contains(end.nominal) for end, said in zip(ends, printed, strict=True))
    outcome = Agreement.AGREES if inside else Agreement.DISAGREES if any(gaps) else Agreement.ROUNDING
    return _finding(
        statement, groups, outcome, expected=" to ".join(map(describe, ends)), printed=statement.value
    )  # fmt: skip


def _bound(statement: Statement, groups: list[list[PublishedCell]], *, above: bool) -> Finding:
    bound = stated(statement.value).nominal
    if above:
        value = _in_percent(statement, groups, difference(*_first(groups)))
        sure, possible = value.interval.lower > bound, value.interval.upper > bound
    else:
        value = ratio(*_first(groups))
        sure, possible = value.interval.upper < bound, value.interval.lower < bound
    outcome = Agreement.AGREES if sure else Agreement.ROUNDING if possible else Agreement.DISAGREES
    printed = f"{'more' if above else 'less'} than {statement.value}"
    return _finding(statement, groups, outcome, expected=describe(value), printed=printed)


def _starred(statement: Statement, groups: list[list[PublishedCell]]) -> Finding:
    subject = groups[0][0]
    rivals = [cell for group in groups[1:] for cell in group if cell.claim.row != subject.claim.row]
    without = [cell for cell in rivals if not cell.claim.stars]
    right = not without and not subject.claim.stars
    return _finding(
        statement, groups, Agreement.AGREES if right else Agreement.DISAGREES,
        expected=f"a star on all {len(rivals)} others", printed=f"{len(rivals) - len(without)} starred",
        note="; ".join(map(_in_words, without)),
    )  # fmt: skip


def _printed_only(statement: Statement, groups: list[list[PublishedCell]]) -> Finding:
    raise Unreadable("the paper prints no numbers that it rests on")


CHECKS: dict[str, Callable[[Statement, list[list[PublishedCell]]], Finding]] = {
    "quote": _quote,
    "difference": _difference,
    "ratio": _ratio,
    "relative_gain": _relative_gain,
    "mean_relative_gain": _mean_relative_gain,
    "share_of_mean": _share_of_mean,
    "sum": _sum,
    "same": _same,
    "rank": _rank,
    "outperforms": _outperforms,
    "count": _count,
    "range": _range,
    "above": lambda statement, groups: _bound(statement, groups, above=True),
    "below": lambda statement, groups: _bound(statement, groups, above=False),
    "starred": _starred,
    "printed_only": _printed_only,
}
