"""The verdict: what a rebuilt cell says about the published one. One function, used by every table.

A difference is judged against a noise band, the largest difference that two honest runs of one procedure are expected
to show. "Not significantly different" is never read as "reproduced": `within` needs the whole interval of the rebuilt
value inside the published one widened by the band, which is the two one-sided tests procedure (TOST; Schuirmann 1987)
when the interval's level is 90 % and the tests' is 5 %. docs/verdicts.md explains this to readers of a table.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from benchmark.catalog.published import Interval, Published, Rounding, exact

INTERVAL_LEVEL = 0.90  # with TOST at 5 %
REPEATABILITY = 1.959964 * math.sqrt(2)  # 95 % limit of the difference between two runs (ISO 5725-6)

Mode = Literal["count", "score"]


class Outcome(StrEnum):
    WITHIN = "within"
    ABOVE = "above"
    BELOW = "below"
    NOT_SEPARABLE = "not separable"
    NOT_ATTEMPTED = "not attempted"
    NOT_COMPARABLE = "not comparable"
    INCONSISTENT = "inconsistent source"


@dataclass(frozen=True)
class Rebuilt:
    """A rebuilt value in the published unit.

    Attributes:
        value: the point estimate.
        lower, upper: its 90 % interval: over seeds where there are several; over cases where the cases are not the
            published ones; equal to `value` for one run on the published cases, whose noise the band covers.
        runs: seeds behind it.
    """

    value: float
    lower: float
    upper: float
    runs: int = 1

    @classmethod
    def point(cls, value: float, runs: int = 1) -> Rebuilt:
        return cls(value, value, value, runs)


@dataclass(frozen=True)
class Band:
    """Half-width of the noise band in the published unit, and where it comes from."""

    half_width: float
    source: str


@dataclass(frozen=True)
class Verdict:
    """Outcome of one cell; `str()` gives the text printed in tables, e.g. `not attempted (no GPU)`."""

    outcome: Outcome
    reason: str = ""
    delta: float | None = None

    def __str__(self) -> str:
        return f"{self.outcome} ({self.reason})" if self.reason else str(self.outcome)


def judge(
    published: Published,
    rebuilt: Rebuilt | None,
    *,
    mode: Mode,
    band: Band | None = None,
    rounding: Rounding = "nearest",
    not_attempted: str = "",
    not_comparable: str = "",
    contradiction: str = "",
) -> Verdict:
    """Judge one rebuilt cell against the published one.

    Args:
        published: the cell as printed.
        rebuilt: None where nothing was rebuilt; `not_attempted` then says why.
        mode: `count` for what has no noise (parameters, FLOPs): equal to the printed precision or not. `score` for what
            varies between runs: equivalence against `band`.
        band: noise band of a score. None: nothing is known about noise, so no score is `within`, `above` or `below`.
        rounding: how the authors cut digits.
        not_attempted: why the cell was not rebuilt; decides whatever the other arguments are.
        not_comparable: why the two numbers answer different questions (demo scale, other hardware).
        contradiction: where the paper contradicts this cell. Replaces every outcome but `within`: no rebuilt number
            can refute a cell whose source says two things.

    Returns:
        The verdict; `delta` is rebuilt minus published wherever both are numbers.
    """
    delta = None if rebuilt is None or published.value is None else float(exact(rebuilt.value) - published.value)
    if not_attempted:
        return Verdict(Outcome.NOT_ATTEMPTED, not_attempted)
    if published.kind != "number":
        reasons = {"missing": "nothing published", "text": "a description", "unreadable": "published cell unreadable"}
        return Verdict(Outcome.NOT_ATTEMPTED, reasons[published.kind])
    if rebuilt is None or math.isnan(rebuilt.value):
        return Verdict(Outcome.NOT_ATTEMPTED, "no value")
    if not_comparable:
        return Verdict(Outcome.NOT_COMPARABLE, not_comparable, delta)
    verdict = _compare(published.interval(rounding), rebuilt, mode, band)
    if contradiction and verdict[0] is not Outcome.WITHIN:
        verdict = (Outcome.INCONSISTENT, contradiction)
    return Verdict(*verdict, delta)


def judge_words(published: Published, words: str) -> Verdict:
    """Judge a setting that is no number, such as a crop size: its numbers and words are the printed ones or not."""
    printed, ours = (re.findall(r"[\d.]+|[a-z]+", text.lower()) for text in (published.text, words))
    return Verdict(Outcome.WITHIN) if printed == ours else Verdict(Outcome.NOT_COMPARABLE, f"{words} here")


def _compare(printed: Interval, rebuilt: Rebuilt, mode: Mode, band: Band | None) -> tuple[Outcome, str]:
    if mode == "count":
        if printed.contains(rebuilt.value):
            return Outcome.WITHIN, ""
        return (Outcome.ABOVE if exact(rebuilt.value) >= printed.upper else Outcome.BELOW), ""
    if band is None or math.isnan(band.half_width):
        return Outcome.NOT_SEPARABLE, "no noise band"
    if math.isnan(rebuilt.lower) or math.isnan(rebuilt.upper):
        return Outcome.NOT_SEPARABLE, "no interval"
    zone = printed.widened(band.half_width)
    lower, upper = _end(rebuilt.lower), _end(rebuilt.upper)
    if zone.contains(lower) and zone.contains(upper):
        return Outcome.WITHIN, ""
    if lower > zone.upper:
        return Outcome.ABOVE, ""
    if upper < zone.lower:
        return Outcome.BELOW, ""
    return Outcome.NOT_SEPARABLE, ""


def _end(value: float) -> Decimal:
    return Decimal(value) if math.isinf(value) else exact(value)


def band_from_spread(spread: float, cases: int) -> Band | None:
    """Band from a published ± that is a standard deviation over `cases`: how far two means of so many cases differ.

    This is sampling noise alone and wide on purpose: it holds for any cases of the same kind, not only the same ones.
    """
    if cases < 2 or not math.isfinite(spread):
        return None
    return Band(REPEATABILITY * spread / math.sqrt(cases), f"published ± over {cases} cases")


def borrowed_band(half_width: float, source: str) -> Band:
    """A noise band measured by somebody else on a similar task; the name appears beside every verdict that uses it."""
    return Band(half_width, f"borrowed: {source}")
