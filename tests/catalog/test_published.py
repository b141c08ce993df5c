from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.catalog.catalog import load_catalog
from benchmark.catalog.published import parse_published
from benchmark.evidence.cells import format_number


@pytest.mark.parametrize(
    ("text", "value", "spread", "unit", "marks", "decimals"),
    [
        ("83.70", "83.70", None, "", "", 2),
        ("70.88 (*)", "70.88", None, "", "*", 2),
        ("0.6653*", "0.6653", None, "", "*", 4),
        ("0.7767±0.0940", "0.7767", "0.0940", "", "", 4),
        ("0.7767 ± 0.0940", "0.7767", "0.0940", "", "", 4),
        ("0.7767 +/- 0.0940†", "0.7767", "0.0940", "", "†", 4),
        ("33M", "33", None, "M", "", 0),
        ("17.3M", "17.3", None, "M", "", 1),
        ("18.9G", "18.9", None, "G", "", 1),
        ("48 hours", "48", None, "hours", "", 0),
        ("19.5 hours", "19.5", None, "hours", "", 1),
        ("85.09%", "85.09", None, "%", "", 2),
        ("8.140", "8.140", None, "", "", 3),
        ("-2.5", "-2.5", None, "", "", 1),
        ("−2.5", "-2.5", None, "", "", 1),
        ("1,228", "1228", None, "", "", 0),
        ("79,54", "79.54", None, "", "", 2),
    ],
)
def test_numbers_as_printed(text, value, spread, unit, marks, decimals):
    cell = parse_published(text)
    assert (cell.kind, cell.value, cell.unit, cell.marks) == ("number", Decimal(value), unit, marks)
    assert cell.spread == (Decimal(spread) if spread else None)
    assert cell.decimals == decimals
    assert cell.text == text


@pytest.mark.parametrize(
    ("text", "kind"),
    [("-", "missing"), ("", "missing"), ("–", "missing"), ("3D", "text"), ("(320, 320)", "text"), ("✓", "text"),
     ("Self-supervised", "text"), ("1.2.0", "text")],
)  # fmt: skip
def test_other_cells(text, kind):
    cell = parse_published(text)
    assert cell.kind == kind
    with pytest.raises(ValueError, match="not a number"):
        cell.interval()


def test_unreadable_stays_unreadable_even_if_it_looks_like_a_number():
    assert parse_published("82.15", unreadable=True).kind == "unreadable"


def test_rounding_interval_is_exact_in_decimal():
    interval = parse_published("0.7767").interval()
    assert (interval.lower, interval.upper) == (Decimal("0.77665"), Decimal("0.77675"))
    assert interval.contains(0.77665) and interval.contains(0.77675)
    assert not interval.contains(0.776751) and not interval.contains(0.776649)


def test_truncation_interval_excludes_the_next_digit():
    interval = parse_published("83.62").interval("truncate")
    assert interval.contains(83.62) and interval.contains(83.628616) and interval.contains(83.6299999)
    assert not interval.contains(83.63) and not interval.contains(83.6199999)
    negative = parse_published("-1.5").interval("truncate")
    assert negative.contains(-1.5) and negative.contains(-1.59)


def test_a_widened_interval_is_closed_unless_nothing_was_added():
    interval = parse_published("83.62").interval("truncate")
    assert interval.widened(0.0).open_above and not interval.widened(0.0).contains(83.63)
    assert interval.widened(0.5).contains(84.13)


@given(st.integers(-(10**6), 10**6), st.integers(0, 4), st.sampled_from(["nearest", "truncate"]))
def test_a_number_is_within_what_it_prints_as(thousandths, decimals, rounding):
    """Printing any value and reading the print back gives an interval that holds the value."""
    value = thousandths / 1000
    printed = format_number(value, decimals, truncate=rounding == "truncate")
    cell = parse_published(printed)
    if not (rounding == "truncate" and float(cell.value) == 0):  # -0.4 and 0.4 both truncate to 0
        assert cell.interval(rounding).contains(value)


def test_every_claim_of_the_catalog_can_be_read():
    for target in load_catalog().targets.values():
        for claim in target.published:
            column = target.columns[claim.column]
            kind = parse_published(claim.value).kind
            if column.measure in ("score", "parameters", "flops", "latency") and claim.value != "unreadable":
                assert kind in ("number", "missing"), (target.target, claim)
