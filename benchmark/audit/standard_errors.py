"""What published means ± standard deviation over n cases can separate: standard errors, and rows nearer than those.

Two means differ beyond the noise of which cases were tested if their difference exceeds 1.96 √(s₁²/n + s₂²/n). Rows of
one table share their cases, so that scores case by case, which the papers do not print, may separate what this cannot;
it is what a reader can tell from the printed numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from math import hypot, sqrt

from benchmark.audit.findings import Agreement, Finding, plain
from benchmark.catalog.catalog import Catalog
from benchmark.catalog.published import parse_published
from benchmark.catalog.targets import UNREADABLE, Target
from benchmark.datasets import available_datasets, get_dataset

TWO_SIDED_95 = 1.959964
SHOWN_DIGITS = 4


@dataclass(frozen=True)
class PrintedMean:
    """A printed mean ± standard deviation over `cases`, in the printed unit."""

    row: str
    mean: float
    deviation: float
    cases: int

    @property
    def standard_error(self) -> float:
        return self.deviation / sqrt(self.cases)

    def separable_from(self, other: PrintedMean) -> bool:
        """Whether the two differ by more than 1.96 standard errors of their difference, cases not paired."""
        limit = TWO_SIDED_95 * hypot(self.standard_error, other.standard_error)
        return abs(self.mean - other.mean) > limit


def printed_means(catalog: Catalog, target: Target, column: str) -> dict[str, PrintedMean]:
    """Row → its printed mean, for scores with a ± over the test cases of a dataset whose number is known."""
    found = {}
    for row in target.rows:
        claim = target.claim(row, column)
        published = parse_published(claim.value, unreadable=claim.value == UNREADABLE) if claim else None
        cases = _test_cases(catalog, target, row, column)
        if published and published.value is not None and published.spread is not None and cases:
            found[row] = PrintedMean(row, float(published.value), float(published.spread), cases)
    return found


def _test_cases(catalog: Catalog, target: Target, row: str, column: str) -> int:
    runs = catalog.cell_runs(target, row, column) if target.columns[column].measure == "score" else ()
    dataset = catalog.run(runs[0]).dataset if runs else ""
    return get_dataset(dataset).split_counts.get("test", 0) if dataset in available_datasets() else 0


def inseparable(means: dict[str, PrintedMean], row: str) -> list[PrintedMean]:
    """The other rows that the printed numbers cannot tell from `row`, nearest first."""
    own = means[row]
    others = [other for other in means.values() if other is not own and not own.separable_from(other)]
    return sorted(others, key=lambda other: abs(other.mean - own.mean))


def separation_findings(catalog: Catalog) -> Iterator[Finding]:
    """One finding per column of means ±: how many rows cannot be told from its best."""
    for target in catalog.targets.values():
        for name, column in target.columns.items():
            means = printed_means(catalog, target, name)
            if len(means) > 1:
                sign = -1 if column.better == "lower" else 1
                best = max(means.values(), key=lambda mean: sign * mean.mean)
                yield _finding(target, name, best, inseparable(means, best.row), len(means) - 1)


def _finding(target: Target, column: str, best: PrintedMean, near: list[PrintedMean], others: int) -> Finding:
    listed = ", ".join(f"{other.row} ({_text(other.mean)})" for other in near)
    note = f"standard error {_text(best.standard_error)} over {best.cases} cases; not separable: {listed}"
    return Finding(
        paper=target.paper,
        check="best row and standard error",
        subject=f"{target.target} > {best.row} > {column}",
        cells=tuple(f"{target.target} > {other.row} > {column}" for other in near),
        expected=f"more than {TWO_SIDED_95:.2f} standard errors above {others} rows, cases not paired",
        printed=f"above {others - len(near)} of {others}",
        outcome=Agreement.NOTABLE if near else Agreement.AGREES,
        note=note if near else "",
    )


def _text(number: float) -> str:
    return plain(round(Decimal(number), SHOWN_DIGITS))
