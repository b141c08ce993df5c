"""Points on structures: training samples of one class and a point on it, and the points that a prediction is told.

Coordinates are (x, y): the column and the row of a pixel of the slice, the first one at 0. The released rules agree in
counting a structure's pixels row by row; MSA, SAM-Med2D and E-SAM then take any of them, SAMUS in its evaluation the
one in the middle of the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch.utils.data import Dataset

from benchmark.data.sampling import PatchDataset
from benchmark.errors import InputError
from benchmark.files import read_json
from benchmark.settings.training import Point

POINT_STREAM = 3  # beside the streams of data.sampling and data.masked_images

Points = Mapping[int, Mapping[int, tuple[int, int]]]  # of one volume: slice → class → (x, y)


def pixels_of(mask: np.ndarray) -> np.ndarray:
    """All pixels of a mask [H, W], row by row: [n, 2], (x, y)."""
    return np.argwhere(mask)[:, ::-1]


def choose_pixel(mask: np.ndarray, how: Point, generator: np.random.Generator) -> tuple[int, int]:
    """One pixel (x, y) of a mask [H, W], by the rules of `training.prompted.point`.

    Raises:
        InputError: the mask is empty.
    """
    pixels = pixels_of(mask)
    if not len(pixels):
        raise InputError("no point lies on a structure that the slice does not show", expected="a mask with a pixel")
    x, y = pixels[len(pixels) // 2 if how == "middle" else generator.integers(len(pixels))]
    return int(x), int(y)


def error_points(
    predicted: np.ndarray, reference: np.ndarray, count: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Points where a mask [H, W] is wrong, with replacement: int64 [count, 2], (x, y), and labels [count], 1 where
    foreground is missed and 0 where it is too much. Where nothing is wrong the labels are -1, not a point (SAM-Med2D
    draws places then, which have no effect)."""
    wrong = pixels_of(predicted != reference)
    if not len(wrong):
        return np.zeros((count, 2), np.int64), np.full(count, -1, np.int64)
    points = wrong[generator.choice(len(wrong), size=count)]
    return points.astype(np.int64), reference[points[:, 1], points[:, 0]].astype(np.int64)


class PromptedDataset(Dataset):
    """Slices of a data set of whole slices, with one class of each and a point on it, drawn from the seed and i alone.

    Items are (image float32 [C, H, W], mask float32 [H, W], point float32 [1, 2] in pixels (x, y), label int64 [1]).
    With `numbered`, the seed and i follow, int64 [2], for draws that are made later.
    The class is any of those that the slice shows, each alike. Where resizing has left none, the mask is empty and the
    point one of the background, which the label 0 says (SAM-Med2D's and MSA's rule; E-SAM's transform fails).
    """

    def __init__(self, samples: PatchDataset, point: Point, *, numbered: bool = False) -> None:
        self.samples, self.point, self.numbered = samples, point, numbered
        self.ignore = samples.store.ignore_label  # None is unlike every label

    @property
    def steps_per_epoch(self) -> int:
        return self.samples.steps_per_epoch

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        image, labels = self.samples[index]
        generator = np.random.default_rng((self.samples.seed, POINT_STREAM, index))
        shown = np.unique(labels)
        shown = shown[(shown > 0) & (shown != self.ignore)]
        mask = labels.numpy() == generator.choice(shown) if len(shown) else np.zeros(labels.shape, bool)
        point = choose_pixel(mask if len(shown) else ~mask, self.point, generator)
        label = torch.tensor([int(len(shown) > 0)])
        told = torch.from_numpy(mask.astype(np.float32)), torch.tensor([point], dtype=torch.float32), label
        return (image, *told, *([torch.tensor([self.samples.seed, index])] if self.numbered else []))


def points_of(labels: np.ndarray, case: str, axis: int, how: Point) -> dict[int, dict[int, tuple[int, int]]]:
    """One point for every class in every slice along `axis` of a label map, as it is prepared.

    The draw depends on the case, the slice and the class, and on nothing else: not on the network, the order of cases
    or the other classes.
    """
    found: dict[int, dict[int, tuple[int, int]]] = {}
    for number, plane in enumerate(np.moveaxis(labels, axis, 0)):
        for value in np.unique(plane[plane > 0]).tolist():
            generator = np.random.default_rng((crc32(case.encode()), number, value))
            found.setdefault(number, {})[value] = choose_pixel(plane == value, how, generator)
    return found


def check_points(points: Points, labels: np.ndarray, axis: int, *, where: str) -> None:
    """Raises InputError unless every point lies on its class in a slice of the label map [*spatial] along `axis`."""
    planes = np.moveaxis(labels, axis, 0)
    for number, by_class in points.items():
        if not 0 <= number < len(planes):
            raise InputError(
                "a point in a slice that there is not", where=where, expected=f"0 to {len(planes) - 1}", found=number
            )
        for value, (x, y) in by_class.items():
            plane, place = planes[number], f"{where}: slice {number}"
            if value not in plane or value == 0:
                raise InputError(
                    f"a point of class {value}, which the slice does not show",
                    where=place,
                    expected=f"classes {sorted(set(np.unique(plane).tolist()) - {0})}",
                    remedy="take the point out",
                )
            inside = 0 <= x < plane.shape[1] and 0 <= y < plane.shape[0]
            if not inside or plane[y, x] != value:
                raise InputError(
                    f"the point of class {value} lies outside its mask",
                    where=place,
                    expected=f"a pixel (x, y) of class {value}, x along the slice's second axis",
                    found=f"({x}, {y}), which is " + (f"class {plane[y, x]}" if inside else "outside the slice"),
                )


def read_points(path: str | Path) -> dict[str, dict[int, dict[int, tuple[int, int]]]]:
    """The points of a file: case → slice → class → (x, y).

    Raises:
        InputError: there is no such file, or it has another form.
    """
    try:
        content: Any = read_json(path)
        cases = content.get("points", content)
        return {
            case: {
                int(number): {int(value): (int(x), int(y)) for value, (x, y) in by_class.items()}
                for number, by_class in by_slice.items()
            }
            for case, by_slice in cases.items()
        }
    except FileNotFoundError:
        raise InputError("there is no file of points", where=path, remedy="run `retable prompts`") from None
    except (AttributeError, TypeError, ValueError) as error:
        form = '{"points": {case: {slice: {class: [x, y]}}}}'
        raise InputError("not a file of points", where=path, expected=form, found=error) from None
