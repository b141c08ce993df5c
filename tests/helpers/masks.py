"""Random, structured and edge-case masks for the tests of scoring."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

SPACINGS = {2: [(1.0, 1.0), (0.7, 1.3)], 3: [(1.0, 1.0, 1.0), (0.7, 1.3, 2.9), (0.9766, 0.9766, 5.0)]}
TOLERANCE = 2.05  # no distance between lattice points of these spacings, where rounding would decide


def make_mask(kind: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    mask = np.zeros(shape, bool)
    if kind in ("sparse", "half", "dense"):
        return random.random(shape) < {"sparse": 0.05, "half": 0.5, "dense": 0.95}[kind]
    if kind == "voxel":
        mask[tuple(random.integers(0, length) for length in shape)] = True
    if kind == "full":
        mask[:] = True
    if kind in ("box", "hollow"):
        corners = [sorted(random.integers(0, length + 1, 2)) for length in shape]
        mask[tuple(slice(a, max(b, a + 1)) for a, b in corners)] = True
    if kind == "hollow":
        mask[tuple(slice(a + 1, max(b - 1, a + 1)) for a, b in corners)] = False
    return mask


KINDS = ("sparse", "half", "dense", "voxel", "full", "box", "hollow")


@st.composite
def mask_pairs(draw: st.DrawFn, *, dimensions: tuple[int, ...] = (2, 3)):
    """(reference, prediction, spacing): boolean masks of equal shape, either may be empty."""
    axes = draw(st.sampled_from(dimensions))
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=axes, max_size=axes)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    kinds = draw(st.tuples(st.sampled_from((*KINDS, "empty")), st.sampled_from((*KINDS, "empty"))))
    return *(make_mask(kind, shape, random) for kind in kinds), draw(st.sampled_from(SPACINGS[axes]))


@st.composite
def filled_mask_pairs(draw: st.DrawFn, *, dimensions: tuple[int, ...] = (2, 3)):
    """As `mask_pairs`, with at least one voxel in each mask."""
    reference, prediction, spacing = draw(mask_pairs(dimensions=dimensions))
    corner = (0,) * reference.ndim
    for mask in (reference, prediction):
        mask[corner] |= not mask.any()
    return reference, prediction, spacing


@st.composite
def label_maps(draw: st.DrawFn, *, classes: int = 5):
    """(reference, prediction): label maps with values up to `classes`, the second a partly changed copy."""
    axes = draw(st.sampled_from((2, 3)))
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=axes, max_size=axes)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    reference = random.integers(0, classes + 1, shape)
    changed = random.random(shape) < draw(st.sampled_from((0.0, 0.3, 1.0)))
    prediction = np.where(changed, random.integers(0, classes + 1, shape), reference)
    kind = draw(st.sampled_from((np.uint8, np.uint16, np.int32)))
    return reference.astype(kind), prediction.astype(kind)
