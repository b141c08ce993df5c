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
from benchmark.models.layers.sam.image_encoder import Block, ImageEncoder
from benchmark.models.layers.sam.mask_decoder import MaskDecoder
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
        elif ".attn.rel_" in key and _attends_globally(encoder, key):
            fitted[key] = resize_table(value, len(wanted))
    return fitted


def fit_lora(state: dict[str, Tensor], encoder: ImageEncoder, decoder: MaskDecoder, rank: int) -> dict[str, Tensor]:
    """As `fit_released`, for an encoder with low-rank updates; keys come without the prefix `sam.`.

    `state` is a file of SAM; a whole network with updates, under `sam.` or not; or SAMed's flat file, whose entries
    `w_a_iii` and `w_b_iii` are the updates of queries (iii = 2 block) and values (2 block + 1), and which has no other
    part of the encoder.

    Raises:
        InputError: another width, depth or rank, or updates trained for another number of classes.
    """
    state = {key.removeprefix("sam."): value for key, value in state.items()}
    tuned = {_update_key(key): value for key, value in state.items()}
    if tuned.keys() != state.keys() or any(".linear_a_q." in key for key in state):
        _check_updates(tuned, encoder, decoder, rank)
    else:
        tuned = {re.sub(r"\.attn\.qkv\.(\w+)$", r".attn.qkv.qkv.\1", key): value for key, value in tuned.items()}
    return fit_released(tuned, encoder)


def _update_key(key: str) -> str:
    found = re.fullmatch(r"w_([ab])_(\d+)", key)
    if not found:
        return key
    block, part = divmod(int(found[2]), 2)
    return f"{ENCODER}blocks.{block}.attn.qkv.linear_{found[1]}_{'qv'[part]}.weight"


def _check_updates(state: dict[str, Tensor], encoder: ImageEncoder, decoder: MaskDecoder, rank: int) -> None:
    updates = {key: tuple(value.shape) for key, value in state.items() if ".linear_a_" in key}
    wanted = 2 * len(encoder.blocks), (rank, len(encoder.patch_embed.proj.weight))
    if len(updates) != wanted[0] or set(updates.values()) != {wanted[1]}:
        raise InputError(
            "the low-rank updates do not fit the network",
            expected=f"{wanted[0]} of rank {rank} and width {wanted[1][1]}",
            found=f"{len(updates)} of shapes {sorted(set(updates.values()))}, rank first",
            remedy="build the network with the file's `rank` and `size`",
        )
    masks = state.get("mask_decoder.mask_tokens.weight")
    if masks is not None and len(masks) != decoder.mask_tokens.num_embeddings:
        raise InputError(
            "the decoder was trained for another number of classes",
            expected=f"{decoder.mask_tokens.num_embeddings} mask tokens, one per class with the background",
            found=f"{len(masks)} mask tokens",
            remedy="build the network for the file's classes, or begin from SAM's weights alone",
        )


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
    numbers = [int(block[1]) for name in state if (block := re.match(rf"{ENCODER}blocks\.(\d+)\.", name))]
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


def _attends_globally(encoder: ImageEncoder, key: str) -> bool:
    block = encoder.blocks[int(key.split(".")[2])]
    return isinstance(block, Block) and block.window is None
