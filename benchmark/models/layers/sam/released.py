"""Published weights of the SAM family in networks of another input size, and how they fail to fit.

The rule is that of SAMed, H-SAM and MoE-SAM: where the grid differs, absolute positions are resized bilinearly and the
relative tables of the global blocks along their length; tables of windows stay as they are. Whatever else does not have
the network's shape is left to the report of `load_released`.
"""

from __future__ import annotations

import re

from torch import Tensor
from torch.nn import functional

from benchmark.errors import InputError
from benchmark.models.layers.sam.image_encoder import ImageEncoder
from benchmark.models.layers.sam.sizes import SIZES

ENCODER = "image_encoder."


def fit_released(state: dict[str, Tensor], encoder: ImageEncoder) -> dict[str, Tensor]:
    """`state` with the positions of its `image_encoder.*` resized to those of `encoder`.

    Raises:
        InputError: the file is of another width or depth.
    """
    check_size(state, encoder)
    own, fitted = encoder.state_dict(), dict(state)
    for key, value in state.items():
        wanted = own.get(key.removeprefix(ENCODER))
        if wanted is None or not key.startswith(ENCODER) or wanted.shape == value.shape:
            continue
        if key == f"{ENCODER}pos_embed":
            fitted[key] = resize_grid(value, wanted.shape[1:3])
        elif ".attn.rel_" in key and _block(encoder, key).window is None:
            fitted[key] = resize_table(value, len(wanted))
    return fitted


def resize_grid(positions: Tensor, grid: tuple[int, ...]) -> Tensor:
    """[1, rows, columns, width] -> [1, *grid, width], bilinear with half-pixel centres."""
    maps = functional.interpolate(positions.permute(0, 3, 1, 2), tuple(grid), mode="bilinear", align_corners=False)
    return maps.permute(0, 2, 3, 1)


def resize_table(table: Tensor, length: int) -> Tensor:
    """[offsets, d] -> [length, d], linear along the offsets with half-pixel centres."""
    return functional.interpolate(table.T[None], length, mode="linear", align_corners=False)[0].T


def check_size(state: dict[str, Tensor], encoder: ImageEncoder) -> None:
    """Raises InputError where the file's encoder has another width or depth; a file without encoder passes."""
    key = f"{ENCODER}patch_embed.proj.weight"
    if key not in state:
        return
    numbers = [int(found[1]) for name in state if (found := re.match(rf"{ENCODER}blocks\.(\d+)\.", name))]
    found = len(state[key]), max(numbers, default=-1) + 1
    own = len(encoder.patch_embed.proj.weight), len(encoder.blocks)
    if found != own:
        raise InputError(
            "the weights are of a SAM of another size",
            expected=_describe(*own),
            found=_describe(*found),
            remedy="build the network with the file's `size`, or choose the weights of the network's",
        )


def _describe(width: int, depth: int) -> str:
    named = [name for name, size in SIZES.items() if (size.width, size.depth) == (width, depth)]
    return f"width {width}, {depth} blocks" + (f" ({named[0]})" if named else "")


def _block(encoder: ImageEncoder, key: str):
    return encoder.blocks[int(key.split(".")[2])]
