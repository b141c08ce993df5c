"""Interval arithmetic on printed decimals: what a computed value can be, given that its parts were rounded.

A printed `0.5` stands for every value that would have been printed so. Sums, quotients and means of such intervals
are intervals, and a printed result agrees with its parts if the two overlap; no tolerance is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from benchmark.catalog.published import Interval


@dataclass(frozen=True)
class Quantity:
    """A value computed from printed numbers: `nominal` from the digits as printed, `interval` all that it can be."""

    nominal: Decimal
    interval: Interval


def total(parts: Sequence[Quantity]) -> Quantity:
    """Sum of the parts."""
    return Quantity(
        sum((part.nominal for part in parts), Decimal(0)),
        Interval(
            sum((part.interval.lower for part in parts), Decimal(0)),
            sum((part.interval.upper for part in parts), Decimal(0)),
        ),
    )


def mean(parts: Sequence[Quantity], weights: Sequence[int] | None = None) -> Quantity:
    """Mean of the parts, weighted if asked. Raises ValueError without parts."""
    if not parts:
        raise ValueError("the mean of nothing")
    weights = weights or [1] * len(parts)
    scaled_parts = [scaled(part, Decimal(weight)) for part, weight in zip(parts, weights, strict=True)]
    return scaled(total(scaled_parts), Decimal(1) / sum(weights))


def scaled(part: Quantity, factor: Decimal) -> Quantity:
    """The part times a number that is not negative."""
    return Quantity(part.nominal * factor, Interval(part.interval.lower * factor, part.interval.upper * factor))


def difference(minuend: Quantity, subtrahend: Quantity) -> Quantity:
    return Quantity(
        minuend.nominal - subtrahend.nominal,
        Interval(
            minuend.interval.lower - subtrahend.interval.upper, minuend.interval.upper - subtrahend.interval.lower
        ),
    )


def ratio(numerator: Quantity, denominator: Quantity) -> Quantity:
    """Quotient of positive quantities. Raises ValueError if the denominator can be zero or less."""
    if denominator.interval.lower <= 0:
        raise ValueError("a ratio to something that may be zero")
    return Quantity(
        numerator.nominal / denominator.nominal,
        Interval(
            numerator.interval.lower / denominator.interval.upper, numerator.interval.upper / denominator.interval.lower
        ),
    )


def relative_gain(value: Quantity, base: Quantity) -> Quantity:
    """Gain over `base` in percent of it."""
    quotient = ratio(value, base)
    hundred = Decimal(100)
    return Quantity(
        hundred * (quotient.nominal - 1),
        Interval(hundred * (quotient.interval.lower - 1), hundred * (quotient.interval.upper - 1)),
    )


def gap(first: Interval, second: Interval) -> Decimal:
    """Distance between two intervals; 0 where they overlap or touch."""
    return max(Decimal(0), first.lower - second.upper, second.lower - first.upper)
