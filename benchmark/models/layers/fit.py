"""Let a network whose input sides must be multiples of something take any shape: pad at the end, crop the output."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional


def round_up(shape: Sequence[int], multiple: Sequence[int], *, several: bool = False) -> tuple[int, ...]:
    """Every side raised to the next multiple.

    Args:
        several: twice the multiple along the last axis where every side would be one multiple. A network that halves
            down to the multiple would have one element left there, over which nothing can be normalised.
    """
    rounded = [side + -side % m for side, m in zip(shape, multiple, strict=True)]
    if several and rounded == list(multiple):
        rounded[-1] *= 2
    return tuple(rounded)


def pad_to_multiple(image: Tensor, multiple: Sequence[int], *, several: bool = False) -> Tensor:
    """Append zeros until the sides of `image` [B, C, *S] are as `round_up` says; the same tensor where they are."""
    return pad_to_shape(image, round_up(image.shape[2:], multiple, several=several))


def pad_to_shape(image: Tensor, shape: Sequence[int]) -> Tensor:
    """Append zeros to `image` [B, C, *S] up to `shape`.

    Raises:
        ValueError: a side is larger than the one in `shape`.
    """
    missing = [wanted - side for side, wanted in zip(image.shape[2:], shape, strict=True)]
    if min(missing) < 0:
        raise ValueError(
            f"input {tuple(image.shape[2:])} is larger than {tuple(shape)}, which this network was built for: "
            "build it with a larger spatial_shape, or predict in windows of that size"
        )
    return _append_zeros(image, missing)


def _append_zeros(image: Tensor, missing: Sequence[int]) -> Tensor:
    if not any(missing):
        return image
    return functional.pad(image, [width for count in reversed(missing) for width in (0, count)])


def crop_to_shape(logits: Tensor, padded: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Undo the padding of an input from `shape` to `padded`, for logits [B, K, *S'] at any fraction of `padded`.

    A level at half resolution keeps ceil(side / 2) voxels, so that a border voxel is never lost.
    """
    if tuple(padded) == tuple(shape):
        return logits
    for axis, (level, full, wanted) in enumerate(zip(logits.shape[2:], padded, shape, strict=True), start=2):
        logits = logits.narrow(axis, 0, -(-wanted * level // full))
    return logits
