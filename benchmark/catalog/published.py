"""Published cells: what a paper printed, read back as a value with the precision it was printed in.

A printed number stands for every value that would have been printed alike. `83.70` says [83.695, 83.705] if its
authors round and [83.70, 83.71) if they truncate (those of Swin SMT do: 83.628 M parameters became `83.62`), so a
comparison needs no tolerance pulled from the air. Arithmetic on printed digits is decimal, not binary.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Rounding = Literal["nearest", "truncate"]
Kind = Literal["number", "missing", "text", "unreadable"]

# Printed unit -> what is counted or measured: a share, a number, seconds, mm.
UNITS = {"": 1.0, "%": 0.01, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "s": 1.0, "h": 3600.0, "hours": 3600.0, "mm": 1.0}
_NUMBER = r"[-−]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)?)"
_CELL = re.compile(
    rf"^(?P<value>{_NUMBER})\s*(?P<multiple>[KMGT](?![a-z]))?"
    rf"(?:\s*(?:±|\+/-)\s*(?P<spread>{_NUMBER}))?"
    r"\s*(?P<unit>%|[KMGT]|[a-z]+)?\s*\(?(?P<marks>[*†‡]*)\)?$"
)
_MISSING = frozenset({"", "-", "–", "—", "−", "n/a", "N/A"})


@dataclass(frozen=True)
class Interval:
    """Values from `lower` to `upper`, both included unless `open_above`."""

    lower: Decimal
    upper: Decimal
    open_above: bool = False

    def contains(self, value: float | Decimal) -> bool:
        number = exact(value)
        below = number < self.upper if self.open_above else number <= self.upper
        return self.lower <= number and below

    def widened(self, half_width: float) -> Interval:
        """The interval with `half_width` added on both sides."""
        margin = exact(half_width)
        return Interval(self.lower - margin, self.upper + margin, self.open_above and margin == 0)


@dataclass(frozen=True)
class Published:
    """One published cell.

    Attributes:
        text: the cell as printed.
        kind: `number`; `missing` (a dash or nothing); `text` (a description); `unreadable` (the source is damaged).
        value: the number in the printed unit; None unless `kind` is `number`.
        spread: what stands behind ±, in the same unit.
        unit: `%`, `M`, `hours`, … as printed in the cell, or an empty string.
        marks: significance stars and daggers behind the number.
    """

    text: str
    kind: Kind
    value: Decimal | None = None
    spread: Decimal | None = None
    unit: str = ""
    marks: str = ""

    @property
    def decimals(self) -> int:
        """Digits printed behind the point."""
        return max(0, -int(self._number.as_tuple().exponent))

    def interval(self, rounding: Rounding = "nearest") -> Interval:
        """All values that would have been printed like this one. Raises ValueError if this is not a number."""
        step = Decimal(1).scaleb(-self.decimals)
        if rounding == "nearest":
            return Interval(self._number - step / 2, self._number + step / 2)
        if self._number < 0:  # truncation is towards zero
            return Interval(self._number - step, self._number)
        return Interval(self._number, self._number + step, open_above=True)

    @property
    def _number(self) -> Decimal:
        if self.value is None:
            raise ValueError(f"{self.text!r} is not a number but {self.kind}")
        return self.value


def parse_published(text: str, *, unreadable: bool = False) -> Published:
    """Read one verbatim cell, such as `83.70`, `70.88 (*)`, `0.7767±0.0940`, `33M`, `48 hours`, `3D` or `-`."""
    text = text.strip()
    if unreadable:
        return Published(text, "unreadable")
    if text in _MISSING:
        return Published(text, "missing")
    match = _CELL.match(text)
    if match is None:
        return Published(text, "text")
    return Published(
        text=text,
        kind="number",
        value=_decimal(match["value"]),
        spread=_decimal(match["spread"]) if match["spread"] else None,
        unit=match["multiple"] or match["unit"] or "",
        marks=match["marks"],
    )


def exact(value: float | int | Decimal) -> Decimal:
    """The shortest decimal that denotes `value`: what a person reads, not the binary fraction behind it."""
    return value if isinstance(value, Decimal) else Decimal(repr(float(value)))


def _decimal(text: str) -> Decimal:
    """`1,228` is a count with a thousands separator, `79,54` a decimal comma (M4oE, Table 3)."""
    text = text.replace("−", "-")
    if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", text):
        return Decimal(text.replace(",", ""))
    return Decimal(text.replace(",", "."))
