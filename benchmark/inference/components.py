"""What is done to label maps after the network: only the largest part of a structure is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cc3d
import numpy as np

from benchmark.errors import InputError


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


def numbers_of(names: Literal["all"] | Sequence[str], label_names: Sequence[str]) -> list[int]:
    """Label numbers of the structures that `inference.keep_largest` names.

    Raises:
        InputError: one is none of the data set's.
    """
    wanted = label_names if names == "all" else names
    unknown = sorted(set(wanted) - set(label_names))
    if unknown:
        raise InputError(
            "inference.keep_largest names unknown structures",
            expected="any of " + ", ".join(label_names),
            found=unknown,
        )
    return [label_names.index(name) + 1 for name in wanted]
