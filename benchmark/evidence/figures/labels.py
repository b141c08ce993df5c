"""Labels that do not overlap: each is tried at many places around its circle and takes the least crowded one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from benchmark.evidence.figures.style import figure_of

_ANGLES = np.deg2rad([0, 180, 90, 270, 45, 315, 135, 225, 22.5, 337.5, 157.5, 202.5, 67.5, 292.5, 112.5, 247.5])
_GAPS = (3.0, 9.0, 18.0, 30.0, 45.0, 65.0)  # pixels between circle and label at 100 dpi
_SWEEPS = 6
_LEADER_FROM = 12.0  # a label further away than this gets a line to its circle


@dataclass(frozen=True)
class Anchor:
    """A circle in data coordinates that wants a label; the radius is in points."""

    label: str
    x: float
    y: float
    radius: float
    colour: str = "black"
    bold: bool = False


def place_labels(
    axes: Axes, anchors: Sequence[Anchor], *, obstacles: Sequence[Anchor] = (), fontsize: float = 8
) -> None:
    """Write every anchor's label beside its circle, clear of other labels, circles, obstacles, inside the axes.

    The axes' limits must be final. Deterministic: greedy from left to right, then a few sweeps in which each label may
    move again. A label that had to go far gets a thin line to its circle.
    """
    if not anchors:
        return
    figure = figure_of(axes)
    figure.draw_without_rendering()  # settles the layout, so that pixels are final
    scale = figure.dpi / 72
    centres = axes.transData.transform([(anchor.x, anchor.y) for anchor in anchors])
    radii = np.array([anchor.radius * scale for anchor in anchors])
    sizes = [_text_size(axes, anchor, fontsize) for anchor in anchors]
    circles = _boxes_of(centres, radii)
    if obstacles:
        places = axes.transData.transform([(obstacle.x, obstacle.y) for obstacle in obstacles])
        blocked = _boxes_of(places, np.array([obstacle.radius * scale for obstacle in obstacles]))
        circles = np.concatenate([circles, blocked])
    candidates = [_candidates(*item) for item in zip(centres, radii, sizes, strict=True)]
    leaders = [_leaders(*item) for item in zip(candidates, centres, radii, strict=True)]
    frame = np.array(axes.get_window_extent().extents)
    chosen = _choose(candidates, leaders, circles, frame)
    inverse = axes.transData.inverted()
    for index, anchor in enumerate(anchors):
        box = candidates[index][chosen[index]]
        middle = (box[:2] + box[2:]) / 2
        _write(axes, anchor, inverse.transform(middle), fontsize, _gap(box, centres[index], radii[index]))


def _write(axes: Axes, anchor: Anchor, position: NDArray, fontsize: float, gap: float) -> None:
    leader = {"arrowstyle": "-", "color": anchor.colour, "linewidth": 0.6, "shrinkA": 0, "shrinkB": anchor.radius}
    axes.annotate(
        anchor.label,
        xy=(anchor.x, anchor.y),
        xytext=tuple(position),
        ha="center",
        va="center",
        fontsize=fontsize,
        fontweight="bold" if anchor.bold else "normal",
        color=anchor.colour,
        arrowprops=leader if gap > _LEADER_FROM else None,
        annotation_clip=False,
    )


def _text_size(axes: Axes, anchor: Anchor, fontsize: float) -> NDArray:
    text = axes.text(0, 0, anchor.label, fontsize=fontsize, fontweight="bold" if anchor.bold else "normal")
    extent = text.get_window_extent()
    text.remove()
    return np.array([extent.width + 2, extent.height + 1])


def _candidates(centre: NDArray, radius: float, size: NDArray) -> NDArray:
    """Boxes [places, 4] (left, bottom, right, top) around a circle, nearest first."""
    directions = np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])
    boxes = []
    for gap in _GAPS:
        middle = centre + directions * (radius + gap + size / 2)
        boxes.append(np.column_stack([middle - size / 2, middle + size / 2]))
    return np.concatenate(boxes)


def _boxes_of(centres: NDArray, radii: NDArray) -> NDArray:
    side = radii[:, None] * 0.9  # a label may touch the corners of a circle's box
    return np.column_stack([centres - side, centres + side])


def _leaders(boxes: NDArray, centre: NDArray, radius: float) -> NDArray:
    """Points along the line from the circle's edge to each box [places, points, 2]; NaN where no line is drawn."""
    nearest = np.clip(centre, boxes[:, :2], boxes[:, 2:])
    offset = nearest - centre
    length = np.linalg.norm(offset, axis=1)
    edge = centre + offset * (radius / np.maximum(length, radius))[:, None]
    along = edge[:, None] + (nearest - edge)[:, None] * np.linspace(0.1, 0.95, 12)[None, :, None]
    return np.where((length - radius > _LEADER_FROM)[:, None, None], along, np.nan)


def _choose(candidates: list[NDArray], leaders: list[NDArray], circles: NDArray, frame: NDArray) -> list[int]:
    """Index of the cheapest box of each label, given where the others are."""
    distance = np.arange(len(candidates[0])) * 2.0  # of two free places the nearer one
    fixed = []
    for index, boxes in enumerate(candidates):
        crossed = _inside(leaders[index], np.delete(circles, index, axis=0))
        fixed.append(_overlap(boxes, circles).sum(axis=1) * 2 + _outside(boxes, frame) * 4 + crossed * 100 + distance)
    chosen = [int(np.argmin(cost)) for cost in fixed]
    most_crowded_last = np.argsort([cost.min() for cost in fixed], kind="stable")
    for _ in range(_SWEEPS):
        for index in most_crowded_last:
            others = [other for other in range(len(candidates)) if other != index]
            if not others:
                return chosen
            boxes = np.array([candidates[other][chosen[other]] for other in others])
            lines = np.concatenate([leaders[other][chosen[other]] for other in others])
            crowd = _overlap(candidates[index], boxes).sum(axis=1) * 6 + _inside(leaders[index], boxes) * 100
            struck = _inside(np.broadcast_to(lines, (1, *lines.shape)), candidates[index], per_box=True) * 100
            chosen[index] = int(np.argmin(fixed[index] + crowd + struck))
    return chosen


def _inside(points: NDArray, boxes: NDArray, *, per_box: bool = False) -> NDArray:
    """How many of the points [lines, points, 2] lie in any of the boxes: per line, or per box if asked."""
    low, high = boxes[None, None, :, :2], boxes[None, None, :, 2:]
    hits = ((points[:, :, None] >= low) & (points[:, :, None] <= high)).all(axis=3)
    return hits.sum(axis=(0, 1)) if per_box else hits.sum(axis=(1, 2))


def _overlap(boxes: NDArray, others: NDArray) -> NDArray:
    """Shared area of each box with each other box [boxes, others], in square pixels."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.prod(np.clip(high - low, 0, None), axis=2)


def _outside(boxes: NDArray, frame: NDArray) -> NDArray:
    inside = _overlap(boxes, frame[None])[:, 0]
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - inside


def _gap(box: NDArray, centre: NDArray, radius: float) -> float:
    nearest = np.clip(centre, box[:2], box[2:])
    return float(np.linalg.norm(nearest - centre) - radius)
