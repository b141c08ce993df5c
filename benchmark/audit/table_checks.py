"""Tables against themselves and each other: means, groups, markings, repeated cells, counted networks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal

from benchmark.audit.arithmetic import Quantity, mean
from benchmark.audit.findings import Agreement, Finding, arithmetic, describe, plain, quantity
from benchmark.catalog.catalog import Catalog
from benchmark.catalog.published import UNITS, Interval, exact, parse_published
from benchmark.catalog.statements import PublishedCell
from benchmark.catalog.targets import Target
from benchmark.datasets import available_datasets
from benchmark.evidence.resolve import group_classes

MARKED_PLACES = {"bold": 1, "underline": 2}
# A value repeated elsewhere is no accident only if it has this many digits.
TELLING_DIGITS = 4


def table_findings(catalog: Catalog, counted: Mapping[str, Mapping[str, float]]) -> Iterator[Finding]:
    """All checks of tables.

    Args:
        counted: run id → counted `parameters` and `flops`, where a network has been counted.
    """
    for target in catalog.targets.values():
        if target.published:
            yield from _averages(target)
            yield from _groups(catalog, target)
            yield from _overlaps(target)
            yield from _markings(target)
            yield from _repeated_in_row(target)
    yield from _same_run(catalog)
    yield from _same_number(catalog)
    yield from _counted(catalog, counted)


def _cell(target: Target, row: str, column: str) -> PublishedCell | None:
    claim = target.claim(row, column)
    return PublishedCell(target.target, claim, target.columns[column]) if claim else None


def _numbers(target: Target, row: str, columns: tuple[str, ...]) -> list[tuple[PublishedCell, Quantity]]:
    """Cells of a row that hold numbers, in the order asked for."""
    found = []
    for column in columns:
        cell = _cell(target, row, column)
        number = quantity(cell) if cell else None
        if cell and number:
            found.append((cell, number))
    return found


def _averages(target: Target) -> Iterator[Finding]:
    """Columns that are the mean of others."""
    for name, column in target.columns.items():
        for row in target.rows if column.of else ():
            parts, whole = _numbers(target, row, column.of), _numbers(target, row, (name,))
            if len(parts) == len(column.of) and whole:
                expected = mean([number for _, number in parts])
                yield arithmetic(
                    paper=target.paper,
                    check="mean of columns",
                    subject=str(whole[0][0]),
                    parts=[cell for cell, _ in parts],
                    expected=expected,
                    printed=whole[0][1],
                    verbatim=whole[0][0].claim.value,
                    contradicted=[(whole[0][0], f"the columns it is the mean of give {describe(expected)}")],
                )


def _groups(catalog: Catalog, target: Target) -> Iterator[Finding]:
    """An overall column against the columns of the label groups that it consists of."""
    scored = {name: column for name, column in target.columns.items() if column.measure == "score"}
    grouped = tuple(name for name, column in scored.items() if column.group)
    overall = [name for name, column in scored.items() if column.group is None]
    if not grouped or len(overall) != 1:
        return
    for row in target.rows:
        runs = catalog.cell_runs(target, row, overall[0])
        parts, whole = _numbers(target, row, grouped), _numbers(target, row, (overall[0],))
        if not runs or len(parts) != len(grouped) or not whole:
            continue
        config = catalog.run(runs[0])
        if config.dataset not in available_datasets():
            continue
        sizes = [len(group_classes(config, scored[name].group) or ()) for name in grouped]
        values = [number for _, number in parts]
        by_group = plain(round(mean(values).nominal, 2))
        yield arithmetic(
            paper=target.paper,
            check="overall of groups",
            subject=str(whole[0][0]),
            parts=[cell for cell, _ in parts],
            expected=mean(values, sizes),
            printed=whole[0][1],
            verbatim=whole[0][0].claim.value,
            note=f"weighted by {'/'.join(map(str, sizes))} structures, as the dataset divides them; the paper does not "
            f"list its groups, which may differ, or the mean may be taken otherwise; plain mean {by_group}",
        )


def _overlaps(target: Target) -> Iterator[Finding]:
    """A mean IoU lies between D / (2 - D) and D of the mean Dice over the same cases (D / (2 - D) is convex)."""
    iou = {name for name, column in target.columns.items() if column.metric == "iou"}
    for name in iou:
        other = name.replace("mIoU", "DSC")
        for row in target.rows if other in target.columns else ():
            pair = _numbers(target, row, (other, name))
            if len(pair) != 2:
                continue
            (dice_cell, dice), (iou_cell, printed) = pair
            low, high = _jaccard(dice.interval.lower), dice.interval.upper
            holds = low <= printed.interval.upper and printed.interval.lower <= high
            yield Finding(
                paper=target.paper,
                check="IoU of Dice",
                subject=str(iou_cell),
                cells=(str(dice_cell),),
                expected=f"[{plain(round(low, 2))}, {plain(high)}]",
                printed=plain(printed.nominal),
                outcome=Agreement.AGREES if holds else Agreement.DISAGREES,
            )


def _jaccard(percent: Decimal) -> Decimal:
    dice = percent / 100
    return 100 * dice / (2 - dice)


def _markings(target: Target) -> Iterator[Finding]:
    """Bold is the best of its column and underlined the second best, where the text keeps the markings."""
    for claim in target.published:
        column = target.columns[claim.column]
        if not claim.marking or column.better == "neither":
            continue
        rivals = [number for row in target.rows for _, number in _numbers(target, row, (claim.column,))]
        own = _numbers(target, claim.row, (claim.column,))[0][1].nominal
        sign = -1 if column.better == "lower" else 1
        place = 1 + sum(sign * rival.nominal > sign * own for rival in rivals)
        wanted = MARKED_PLACES[claim.marking]
        yield Finding(
            paper=target.paper,
            check="marking",
            subject=f"{target.target} > {claim.row} > {claim.column}",
            cells=(f"{target.target} > * > {claim.column}",),
            expected=f"place {wanted} ({claim.marking})",
            printed=f"place {place} with {claim.value}",
            outcome=Agreement.AGREES if place == wanted else Agreement.DISAGREES,
        )


def _repeated_in_row(target: Target) -> Iterator[Finding]:
    """The same score twice in one row may be a slip of the hand."""
    scores = tuple(name for name, column in target.columns.items() if column.measure in ("score", "average"))
    for row in target.rows:
        seen: dict[str, PublishedCell] = {}
        for cell, _ in _numbers(target, row, scores):
            first = seen.setdefault(cell.claim.value, cell)
            if first is not cell and _digits(cell.claim.value) >= TELLING_DIGITS:
                yield Finding(
                    paper=target.paper,
                    check="same score twice in a row",
                    subject=str(cell),
                    cells=(str(first), str(cell)),
                    expected="two measurements that agree to the last digit by chance",
                    printed=cell.claim.value,
                    outcome=Agreement.NOTABLE,
                )


def _digits(text: str) -> int:
    return sum(character.isdigit() for character in text.split("±")[0].lstrip("0."))


def _measured_cells(catalog: Catalog) -> Iterator[tuple[tuple, tuple[str, ...], PublishedCell]]:
    """(what is measured, runs, cell) of every published number that rests on a run."""
    for target in catalog.targets.values():
        for claim in target.published:
            column = target.columns[claim.column]
            runs = catalog.cell_runs(target, claim.row, claim.column)
            if runs and column.measure in ("score", "parameters", "flops"):
                dataset = catalog.run(runs[0]).dataset
                key = (dataset, column.measure, column.metric, column.group, column.statistic)
                cell = PublishedCell(target.target, claim, column)
                if quantity(cell):
                    yield key, runs, cell


def _same_run(catalog: Catalog) -> Iterator[Finding]:
    """One run and one measure is one number, wherever it is printed."""
    groups: dict[tuple, list[PublishedCell]] = defaultdict(list)
    for key, runs, cell in _measured_cells(catalog):
        groups[(*key, runs)].append(cell)
    for cells in groups.values():
        for other in cells[1:]:
            first, second = quantity(cells[0]), quantity(other)
            assert first and second
            yield arithmetic(
                paper=catalog.target(other.target).paper,
                check="same cell in two tables",
                subject=str(other),
                parts=[cells[0]],
                expected=first,
                printed=second,
                verbatim=other.claim.value,
                note="the same run and measure by the papers' own words",
                contradicted=[
                    (cells[0], f"{other} prints {other.claim.value}"),
                    (other, f"{cells[0]} prints {cells[0].claim.value}"),
                ],
            )


def _same_number(catalog: Catalog) -> Iterator[Finding]:
    """Different runs that print the same digits of the same measure."""
    seen: dict[tuple, tuple[tuple[str, ...], PublishedCell]] = {}
    for key, runs, cell in _measured_cells(catalog):
        value = parse_published(cell.claim.value).value
        if key[1] != "score" or _digits(cell.claim.value) < TELLING_DIGITS:
            continue
        first_runs, first = seen.setdefault((key, value), (runs, cell))
        if first_runs != runs:
            yield Finding(
                paper=catalog.target(cell.target).paper,
                check="same number of other runs",
                subject=str(cell),
                cells=(f"{first} ({first_runs[0]})", f"{cell} ({runs[0]})"),
                expected=f"other digits than {first}",
                printed=f"{value}",
                outcome=Agreement.NOTABLE,
                note="as the papers describe them these are different trainings; probably one run, reported twice",
            )


def _counted(catalog: Catalog, counted: Mapping[str, Mapping[str, float]]) -> Iterator[Finding]:
    """Printed parameters and FLOPs against the network that the row names."""
    for key, runs, cell in _measured_cells(catalog):
        value = counted.get(runs[0], {}).get(key[1])
        if value is None or key[1] == "score":
            continue
        printed = quantity(cell)
        unit = exact(UNITS[cell.column.unit])
        number = exact(value) / unit
        assert printed
        off = 100 * (printed.nominal - number) / number
        finding = arithmetic(
            paper=catalog.target(cell.target).paper,
            check=f"counted {key[1]}",
            subject=str(cell),
            parts=[],
            expected=Quantity(number, Interval(number, number)),
            printed=printed,
            verbatim=cell.claim.value,
            note=f"network {catalog.run(runs[0]).model.name}; printed is off by {plain(round(off, 2), signed=True)} %",
        )
        yield replace(finding, cells=(runs[0],))
