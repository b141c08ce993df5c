"""Numbers as JSON has them: short, and with words for what is no number."""

from __future__ import annotations

import math

DECIMALS = 4
DIGITS = 4


def number(value: float) -> float | str | None:
    """A score or a difference with `DECIMALS` decimals; None where there is none, "inf" for a distance to nothing."""
    return _finite(value) if not math.isfinite(value) else round(float(value), DECIMALS)


def rounded(value: float) -> float | str | None:
    """A probability or an effect with `DIGITS` digits."""
    return _finite(value) if not math.isfinite(value) else float(f"{value:.{DIGITS}g}")


def _finite(value: float) -> str | None:
    return None if math.isnan(value) else str(float(value))
