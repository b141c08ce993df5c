"""Bubbles as SVG: a circle per network, which says its numbers when it is pointed at or reached by keyboard."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from benchmark.evidence.figures.bubbles import Bubble

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 56
LARGEST = 26.0  # radius of the largest circle
INSIDE = 10.0  # from this radius on, a circle's number stands in it
MARGIN = 0.12  # of the range, beyond the outermost circles
CAP = 4.0  # half the width of an interval's ends


class Range(NamedTuple):
    """The ends of an axis."""

    low: float
    high: float


@dataclass(frozen=True)
class Axes:
    """What all views of one figure share: ranges, scale and names of the axes, and the size of the largest circle."""

    x: Range
    y: Range
    largest: float
    x_label: str
    y_label: str
    size_unit: str
    log: bool = False

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies in the picture."""
        low, high, place = map(math.log10, (*self.x, x)) if self.log else (*self.x, x)
        across = (place - low) / (high - low)
        up = (y - self.y.low) / (self.y.high - self.y.low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def radius(self, size: float) -> float:
        return LARGEST * math.sqrt(size / self.largest)


def axes_around(bubbles: Sequence[Bubble], *, x_label: str, y_label: str, size_unit: str, log: bool) -> Axes:
    """Axes in which all of some circles, at least one, and their intervals have room."""
    x = [bubble.x for bubble in bubbles]
    y = [end for bubble in bubbles for end in (bubble.y, bubble.lower, bubble.upper) if math.isfinite(end)]
    across = Range(min(x) / 1.6, max(x) * 1.6) if log else _with_margin(x)
    largest = max(bubble.size for bubble in bubbles) or 1.0
    return Axes(across, _with_margin(y), largest, x_label, y_label, size_unit, log)


def _with_margin(values: Sequence[float]) -> Range:
    margin = MARGIN * ((max(values) - min(values)) or abs(values[0]) or 1.0)
    return Range(min(values) - margin, max(values) + margin)


def bubble_svg(
    bubbles: Sequence[Bubble],
    axes: Axes,
    numbers: Mapping[str, int],
    *,
    title: str,
    highlight: str = "",
    arrows: Sequence[tuple[str, str]] = (),
) -> str:
    """One view of a figure. Where it has a label twice, a line leads from the published circle to the rebuilt one; the
    published one, an outline in this case, lies on top, so that both can be pointed at.

    Args:
        numbers: label → the number at its circle, which the table beside the figure explains.
        highlight: label in the accent colour.
        arrows: pairs of labels joined by an arrow.
    """
    ordered = sorted(bubbles, key=lambda bubble: (bubble.origin == "published", -bubble.size))
    rebuilt = {bubble.label: bubble for bubble in bubbles if bubble.origin != "published"}
    twice = [(bubble, rebuilt[bubble.label]) for bubble in bubbles
             if bubble.origin == "published" and bubble.label in rebuilt]  # fmt: skip
    doubled = {published.label for published, _ in twice}
    return "\n".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="group" aria-label="{escape(title)}">',
            *_frame(axes),
            *(_line(axes, *both) for both in twice),
            *(_arrow(axes, bubbles, start, end) for start, end in arrows),
            *(_circle(axes, one, numbers[one.label], highlight, twice=one.label in doubled) for one in ordered),
            "</svg>",
        ]
    )


def _frame(axes: Axes) -> list[str]:
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<path class="axis" d="M{LEFT} {TOP}V{floor}H{right}"/>']
    for value in log_ticks(axes.x) if axes.log else ticks(axes.x):
        x = axes.at(value, axes.y.low)[0]
        parts += [f'<path class="grid" d="M{x:.1f} {TOP}V{floor}"/>']
        parts += [f'<text class="tick" x="{x:.1f}" y="{floor + 18}" text-anchor="middle">{value:g}</text>']
    for value in ticks(axes.y):
        y = axes.at(axes.x.low, value)[1]
        parts += [f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>']
        parts += [f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>']
    middle = (TOP + floor) / 2
    return [
        *parts,
        f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(axes.x_label)}</text>',
        f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{escape(axes.y_label)}</text>',
    ]


def _circle(axes: Axes, bubble: Bubble, number: int, highlight: str, *, twice: bool) -> str:
    (x, y), radius = axes.at(bubble.x, bubble.y), axes.radius(bubble.size)
    words = escape(in_words(bubble, axes))
    inside = radius >= INSIDE
    place = f'x="{x:.1f}" text-anchor="middle"' if inside else f'x="{x + radius + 3:.1f}"'
    kind = f"bubble {bubble.origin}" + (" marked" if bubble.label == highlight else "") + (" twice" if twice else "")
    return (
        f'<g class="{kind}" tabindex="0" role="img" aria-label="{words}"><title>{words}</title>'
        f"{_interval(axes, bubble, x)}"
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{max(radius, 3):.1f}"/>'
        f'<text class="{"inside" if inside else "beside"}" {place} y="{y + 4:.1f}">{number}</text></g>'
    )


def _interval(axes: Axes, bubble: Bubble, x: float) -> str:
    if not (math.isfinite(bubble.lower) and math.isfinite(bubble.upper)):
        return ""
    low, high = (axes.at(bubble.x, end)[1] for end in (bubble.lower, bubble.upper))
    caps = "".join(f"M{x - CAP:.1f} {end:.1f}h{2 * CAP:g}" for end in (low, high))
    return f'<path class="interval" d="M{x:.1f} {low:.1f}V{high:.1f}{caps}"/>'


def _line(axes: Axes, published: Bubble, rebuilt: Bubble) -> str:
    (x, y), (to_x, to_y) = axes.at(published.x, published.y), axes.at(rebuilt.x, rebuilt.y)
    return f'<path class="line" d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}"/>'


def _arrow(axes: Axes, bubbles: Sequence[Bubble], start: str, end: str) -> str:
    """From edge to edge of two circles; nothing where one of them is not there or they touch."""
    drawn = {bubble.label: bubble for bubble in bubbles}
    if start not in drawn or end not in drawn:
        return ""
    one, other = (axes.at(drawn[name].x, drawn[name].y) for name in (start, end))
    length = math.dist(one, other)
    near, far = axes.radius(drawn[start].size) + 2, length - axes.radius(drawn[end].size) - 2
    if far <= near:
        return ""
    along = [(b - a) / length for a, b in zip(one, other, strict=True)]
    (x, y), (tip_x, tip_y) = ([a + step * part for a, part in zip(one, along, strict=True)] for step in (near, far))
    angle = math.degrees(math.atan2(along[1], along[0]))
    head = (
        f'<path class="arrow" d="M-8 -4L0 0L-8 4" transform="translate({tip_x:.1f} {tip_y:.1f}) rotate({angle:.1f})"/>'
    )
    return f'<path class="arrow" d="M{x:.1f} {y:.1f}L{tip_x:.1f} {tip_y:.1f}"/>{head}'


def in_words(bubble: Bubble, axes: Axes) -> str:
    """A circle for those who hear it: name, both coordinates, interval, size, and where they come from."""
    interval = f", interval {shown(bubble.lower)} to {shown(bubble.upper)}" if math.isfinite(bubble.lower) else ""
    size = f"{shown(bubble.size)} {axes.size_unit} parameters".replace("  ", " ")
    return (
        f"{bubble.label} ({ORIGINS[bubble.origin]}): {axes.y_label} {shown(bubble.y)}{interval}; "
        f"{axes.x_label} {shown(bubble.x)}; {size}"
    )


ORIGINS = {"published": "published", "rebuilt": "rebuilt", "mixed": "one coordinate rebuilt, the other as published"}


def shown(value: float) -> str:
    """A number as its file has it; a mean over tables with seven digits."""
    return f"{value:.7g}"


def ticks(ends: Range, wanted: int = 6) -> list[float]:
    """Round numbers between the ends of an axis, about `wanted`: multiples of 1, 2 or 5 · 10^k."""
    rough = (ends.high - ends.low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.ceil(ends.low / step), math.floor(ends.high / step)
    return [round(count * step, 12) for count in range(first, last + 1)]


def log_ticks(ends: Range) -> list[float]:
    """1, 2 and 5 · 10^k between the ends of a logarithmic axis."""
    powers = range(math.floor(math.log10(ends.low)), math.ceil(math.log10(ends.high)) + 1)
    return [value for k in powers for value in (10.0**k, 2 * 10.0**k, 5 * 10.0**k) if ends.low <= value <= ends.high]
