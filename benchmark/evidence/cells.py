"""One cell of a table: what was measured, judged against the published value, and how it is printed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

from benchmark.catalog.published import Published, exact, parse_published
from benchmark.catalog.targets import UNREADABLE, Claim, Column
from benchmark.evidence.measured import CellSource, Evidence, Measured, measure
from benchmark.evidence.verdict import Verdict, judge, judge_words

HANDED_IN = "handed in, by whom is not known, SHA-256 "


@dataclass(frozen=True)
class JudgedCell:
    """A judged cell, with everything compare.csv says about it."""

    row: str
    column: str
    published: Published
    stars: str
    measured: Measured
    verdict: Verdict
    source: CellSource
    text: str
    digests: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


def build_cell(
    row: str,
    name: str,
    column: Column,
    claim: Claim | None,
    source: CellSource,
    evidence: Evidence,
    measured: Measured | None = None,
) -> JudgedCell:
    """Rebuild and judge the cell of `row` under the column `name`; without a claim there is nothing to judge.

    `measured` stands in for what the cell's own files give, for columns computed from other columns.
    """
    text = claim.value if claim else ""
    published = parse_published(text, unreadable=text == UNREADABLE)
    measured = measured or measure(column, source, evidence, published)
    verdict = _verdict(column, published, measured, evidence.contradictions.get((row, name), ""))
    used = [evidence.scores[run] for run in source.runs if run in evidence.scores] if column.measure == "score" else []
    return JudgedCell(
        row=row,
        column=name,
        published=published,
        stars=claim.stars if claim else "",
        measured=measured,
        verdict=verdict,
        source=source,
        text=_cell_text(column, published, measured, verdict),
        digests=tuple(dict.fromkeys(scores.config_digest for scores in used)),
        versions=tuple(dict.fromkeys(scores.code_version for scores in used)),
        origins=tuple(f"{HANDED_IN}{scores.handed_in[:16]}" for scores in used if scores.handed_in),
    )


def _verdict(column: Column, published: Published, measured: Measured, contradiction: str) -> Verdict:
    if measured.words and published.kind in ("text", "number"):
        return judge_words(published, measured.words)
    return judge(
        published,
        measured.rebuilt,
        mode=measured.mode,
        band=measured.band,
        rounding=column.rounding,
        not_attempted=measured.not_attempted,
        not_comparable=measured.not_comparable,
        contradiction=contradiction,
    )


def _cell_text(column: Column, published: Published, measured: Measured, verdict: Verdict) -> str:
    """What the rebuilt table prints: the value as the authors would have, else the reason why there is none."""
    if column.measure == "text":
        return published.text
    if measured.words:
        return measured.words
    if measured.rebuilt is None or math.isnan(measured.rebuilt.value):
        return str(verdict) if measured.not_attempted else "not attempted (no value)"
    decimals = column.decimals
    if decimals is None:
        decimals = published.decimals if published.kind == "number" else 4
    return format_number(measured.rebuilt.value, decimals, truncate=column.rounding == "truncate")


def format_number(value: float, decimals: int, *, truncate: bool = False) -> str:
    """`value` with a fixed number of decimals, cut the way the authors cut theirs; `inf` for an infinite distance."""
    if math.isinf(value):
        return str(value)
    mode = ROUND_DOWN if truncate else ROUND_HALF_EVEN
    return str(exact(round(value, 10)).quantize(Decimal(1).scaleb(-decimals), rounding=mode))
