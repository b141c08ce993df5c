"""Columns that are the mean of other columns (`AVG`, `Mean`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmark.evidence.cells import JudgedCell
from benchmark.evidence.measured import Measured
from benchmark.evidence.verdict import Band, Rebuilt


def measure_average(cells: Sequence[JudgedCell]) -> Measured:
    """The mean of a row's cells; without one of them there is none, for that cell's reason.

    Interval and band are the means of theirs: as wide as if all columns erred together. Without one band there is none.
    """
    for cell in cells:
        if cell.measured.rebuilt is None:
            return Measured(mode="score", not_attempted=cell.measured.not_attempted or "no value")
    rebuilt = [cell.measured.rebuilt for cell in cells if cell.measured.rebuilt is not None]
    bands = [cell.measured.band for cell in cells if cell.measured.band is not None]
    sources = dict.fromkeys(band.source for band in bands)
    counts = [cell.measured.cases for cell in cells if cell.measured.cases is not None]
    return Measured(
        mode="score",
        rebuilt=Rebuilt(
            _mean([value.value for value in rebuilt]),
            _mean([value.lower for value in rebuilt]),
            _mean([value.upper for value in rebuilt]),
            min((value.runs for value in rebuilt), default=1),
        ),
        interval_over=next((cell.measured.interval_over for cell in cells if cell.measured.interval_over), ""),
        cases=sum(counts) if counts else None,
        band=Band(_mean([band.half_width for band in bands]), "; ".join(sources)) if len(bands) == len(cells) else None,
        not_comparable=next((cell.measured.not_comparable for cell in cells if cell.measured.not_comparable), ""),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
