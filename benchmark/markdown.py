"""Markdown tables that also line up as plain text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

NUMBER = re.compile(r"[-−–+±≥≤<>≈~(\[*· ]*\d.{0,40}$")  # a number, with what stands beside it; no sentence
NEUTRAL = {"", "-", "–", "unknown"}


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A markdown table whose columns line up in plain text; the first row is the header.

    A column of numbers goes right: one with at least as many numbers as words. The first column never does.
    """
    cells = [[text.replace("|", "\\|") for text in row] for row in rows]
    columns = list(zip(*cells, strict=True))
    widths = [max(3, *map(_width, column)) for column in columns]
    right = [number > 0 and _is_numeric(column[1:]) for number, column in enumerate(columns)]
    rule = ["-" * (width - 1) + (":" if to_right else "-") for width, to_right in zip(widths, right, strict=True)]
    lines = [_line(row, widths, right) for row in cells]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]])


def _is_numeric(column: Sequence[str]) -> bool:
    telling = [text for text in column if text not in NEUTRAL]
    return bool(telling) and 2 * sum(NUMBER.match(text) is not None for text in telling) >= len(telling)


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padding = [" " * (width - _width(text)) for text, width in zip(row, widths, strict=True)]
    fields = (space + text if to_right else text + space
              for text, space, to_right in zip(row, padding, right, strict=True))  # fmt: skip
    return "| " + " | ".join(fields) + " |"


def _width(text: str) -> int:
    """Columns that `text` takes in a terminal: combining marks none, East Asian wide characters two."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )
