"""Folds of a data set: the same cases in other parts, under a name of its own: `<dataset>.fold<k>`.

Raw files, what `verify` found and, where preparation does not look at training cases, the prepared store belong to the
whole data set; the split, and all that follows from it, to the fold.
"""

from __future__ import annotations

import re

NAME = re.compile(r"(?P<whole>[a-z0-9_]+)\.fold(?P<fold>\d+)")


def fold_name(dataset: str, fold: int) -> str:
    """Name of a fold of a data set."""
    return f"{dataset}.fold{fold}"


def whole_of(dataset: str) -> str:
    """The data set that a name is a fold of; of a whole data set, the name itself."""
    match = NAME.fullmatch(dataset)
    return match["whole"] if match else dataset


def fold_of(dataset: str) -> int | None:
    """The number of a fold; None of a whole data set."""
    match = NAME.fullmatch(dataset)
    return int(match["fold"]) if match else None
