"""What is done to label maps after the network: the largest part of a structure is kept, or small ones are dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import cc3d
import numpy as np

from benchmark.errors import InputError
from benchmark.settings import Inference


class Parts(NamedTuple):
    """What of a label map is kept, by label number."""

    largest: list[int]
    drop_up_to: dict[int, int]

    def of(self, labels: np.ndarray) -> np.ndarray:
        """What is kept of labels [X, Y, Z]: the largest parts first, then what of them is not too small."""
        return drop_small(keep_largest(labels, self.largest), self.drop_up_to)


def parts_of(inference: Inference, label_names: Sequence[str]) -> Parts:
    """What the settings say of parts of the data set's structures.

    Raises:
        InputError: they name a structure that is none of the data set's.
    """
    small = inference.drop_up_to
    numbers = numbers_of(tuple(small), label_names, setting="drop_up_to")
    return Parts(numbers_of(inference.keep_largest, label_names), dict(zip(numbers, small.values(), strict=True)))


def keep_largest(labels: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """Labels [X, Y, Z] without all but the largest connected part of each structure in `numbers`; of parts of one size
    the first is kept. Voxels that share a corner are connected. A structure that is absent stays so."""
    kept = labels.copy()
    for number in numbers:
        parts = cc3d.connected_components((labels == number).astype(np.uint8), connectivity=26)
        sizes = np.bincount(parts.ravel())[1:]
        if sizes.size > 1:
            kept[(parts > 0) & (parts != sizes.argmax() + 1)] = 0
    return kept


def drop_small(labels: np.ndarray, sizes: Mapping[int, int]) -> np.ndarray:
    """Labels [X, Y, Z] without the connected parts of each structure in `sizes` that have at most so many voxels, all
    parts if need be. Voxels that share a corner are connected."""
    kept = labels.copy()
    for number, size in sizes.items():
        parts = cc3d.connected_components((labels == number).astype(np.uint8), connectivity=26)
        small = np.bincount(parts.ravel()) <= size
        small[0] = False  # what is not of the structure
        kept[small[parts]] = 0
    return kept


def numbers_of(
    names: Literal["all"] | Sequence[str], label_names: Sequence[str], *, setting: str = "keep_largest"
) -> list[int]:
    """Label numbers of the structures that a setting of `inference` names.

    Raises:
        InputError: one is none of the data set's.
    """
    wanted = label_names if names == "all" else names
    unknown = sorted(set(wanted) - set(label_names))
    if unknown:
        raise InputError(
            f"inference.{setting} names unknown structures",
            expected="any of " + ", ".join(label_names),
            found=unknown,
        )
    return [label_names.index(name) + 1 for name in wanted]
