"""What a network around `VSSMEncoder` begins from: VMamba-Tiny, and encoders adapted by masked-image modelling.

Networks hold the encoder as `vssm_encoder` and, where they have one, the convolution before it as `stem`; the patch
embedding and the stem together are the embedding. VMamba's names are those of its first or its later code (MIT).
"""

from __future__ import annotations

import re
from typing import Literal

from torch import Tensor, nn

from benchmark.errors import InputError
from benchmark.models.released import LoadReport

PREFIX = "vssm_encoder."
EMBEDDING = (f"{PREFIX}patch_embed.", "stem.")
VMAMBA_NAMES = (
    # the names of VMamba's later code for the same network -> those of its first release
    (r"^patch_embed\.0\.", "patch_embed.proj."),
    (r"^patch_embed\.2\.", "patch_embed.norm."),
    (r"(\.blocks\.\d+)\.norm\.", r"\1.ln_1."),
    (r"(\.blocks\.\d+)\.op\.", r"\1.self_attention."),
    # -> the encoder's
    (r"^layers\.(\d+)\.downsample\.", r"downsamples.\1."),
)
PatchEmbedding = Literal["as_released", "as_written"]


def vmamba_to_encoder(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a VMamba-Tiny checkpoint (first or later key names) to `VSSMEncoder`'s keys; the classifier is dropped."""
    renamed = {}
    for key, tensor in state.items():
        if re.match(r"(norm|head|classifier)\.", key):
            continue
        for pattern, replacement in VMAMBA_NAMES:
            key = re.sub(pattern, replacement, key)
        renamed[key] = tensor
    return renamed


def vmamba_to_network(network: nn.Module, state: dict[str, Tensor], patch_embed: PatchEmbedding) -> dict[str, Tensor]:
    """A VMamba-Tiny checkpoint under the keys of a network; one that has such keys already is returned as it is.

    Blocks that a shallower network lacks are kept, so that the report of the loading names them as unexpected.

    Args:
        patch_embed: what of the patch embedding is taken. "as_released": all of it where it fits, and behind a stem the
            bias of its norm alone (the release skips the norm's weight twice and forgets the bias); "as_written":
            nothing.
    """
    if any(key.startswith(PREFIX) for key in state):
        return state
    encoder = vmamba_to_encoder(state)
    embedding = {key for key in encoder if key.startswith("patch_embed.")}
    if patch_embed == "as_released":
        embedding -= {"patch_embed.norm.bias"} if hasattr(network, "stem") else _fitting(network, encoder, embedding)
    return {f"{PREFIX}{key}": value for key, value in encoder.items() if key not in embedding}


def _fitting(network: nn.Module, encoder: dict[str, Tensor], embedding: set[str]) -> set[str]:
    """The whole patch embedding if its images have as many channels, else nothing."""
    own = network.get_parameter(f"{PREFIX}patch_embed.proj.weight")
    found = encoder.get("patch_embed.proj.weight")
    return embedding if found is not None and found.shape == own.shape else set()


def begin_from_encoder(network: nn.Module, part: str, state: dict[str, Tensor], *, embedding: bool) -> LoadReport:
    """Copy an adapted encoder into a segmentation network, in place.

    Args:
        part: "encoder", the only part that such a network takes from another training.
        state: state dict of `masked_encoder`.
        embedding: take stem and patch embedding too; otherwise they stay as they are.

    Returns:
        The fate of every key: `missing` are those of the network outside what was taken, `unexpected` those of `state`
        that stay behind (mask token, head, blocks that a shallower network lacks, the embedding where not wanted).

    Raises:
        InputError: another part, or the network's encoder has a key that `state` lacks or has in another shape.
    """
    if part != "encoder":
        raise InputError("the network has no such part", expected="begins_from: encoder", found=part)
    own = network.state_dict()
    wanted = {key for key in own if key.startswith((PREFIX, *EMBEDDING))}
    if not embedding:
        wanted = {key for key in wanted if not key.startswith(EMBEDDING)}
    lacking = sorted(wanted - state.keys())
    mismatched = sorted(key for key in wanted & state.keys() if own[key].shape != state[key].shape)
    if lacking or mismatched:
        raise InputError(
            "the adapted encoder is not that of this network",
            expected=f"{len(wanted)} tensors of the encoder in the network's shapes",
            found=f"{len(lacking)} missing {lacking[:3]}, {len(mismatched)} of another shape {mismatched[:3]}",
            remedy="adapt masked_encoder with the options of this network (models.yaml: begins_from)",
        )
    network.load_state_dict({key: state[key] for key in wanted}, strict=False)
    return LoadReport(
        loaded=tuple(sorted(wanted)),
        missing=tuple(sorted(own.keys() - wanted)),
        unexpected=tuple(sorted(state.keys() - wanted)),
    )


def check_patch_embed(choice: PatchEmbedding) -> PatchEmbedding:
    """What of VMamba's patch embedding is taken: "as_released" or "as_written".

    Raises:
        ValueError: something else.
    """
    if choice not in ("as_released", "as_written"):
        raise ValueError(f"patch_embed is 'as_released' or 'as_written', not {choice!r}")
    return choice
