"""`retable features`: what MoE-SAM's encoder sees, layer by layer, and what its feature enhancing block makes of it.

The paper (Fig. 2) shows feature maps of the layers, of the neck "without any fusion", of the fused embedding, and "the
corresponding attention map based on the fused features", of slices of MMWHS, and does not say how many channels became
one picture, which attention it is, or which slices. Taken here: the first principal component over the places of a map
(a mean over channels behind a norm is nearly the same everywhere), the decoder's last attention from the structures'
mask tokens to the image, and the middle slice of the first test cases. The ledger of moe_sam has the entry
`feature-maps`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from benchmark import lineage
from benchmark.data.split import read_split
from benchmark.data.store import PreparedStore
from benchmark.errors import InputError
from benchmark.files import atomic_path, write_json
from benchmark.inference.predict import (
    add_trained_run_arguments,
    cases_to_predict,
    device_of,
    load_network,
    weights_of,
)
from benchmark.inference.slices import fit_slice
from benchmark.models.weights_at_hand import WeightsAtHand
from benchmark.progress import say
from benchmark.settings import Features, RunConfig
from benchmark.version import code_version


@runtime_checkable
class ShowsFeatures(Protocol):
    """A network that gives the maps of its layers by name (`models.moe_sam`)."""

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Of images [B, channels, H, W]."""


def as_pictures(features: Tensor, reduction: str) -> np.ndarray:
    """Feature maps [..., channels, rows, columns] as pictures [..., rows, columns], float32.

    Args:
        reduction: `component`: the first principal component over the places, turned so that it rises with the mean
            over channels; `mean`: that mean.
    """
    flat = features.flatten(start_dim=-2).transpose(-1, -2).double()  # [..., places, channels]
    mean = flat.mean(dim=-1)
    pictures = mean
    if reduction == "component":
        centred = flat - flat.mean(dim=-2, keepdim=True)
        left, values, _ = torch.linalg.svd(centred, full_matrices=False)
        pictures = left[..., 0] * values[..., :1]
        rises = (pictures * (mean - mean.mean(dim=-1, keepdim=True))).sum(dim=-1, keepdim=True)
        pictures = torch.where(rises < 0, -pictures, pictures)
    return pictures.unflatten(-1, features.shape[-2:]).float().cpu().numpy()


def feature_maps(network: nn.Module, images: Tensor, reduction: str) -> dict[str, np.ndarray]:
    """Pictures of what a network's method `features` gives for images [B, C, H, W].

    Returns:
        layers [B, depth, rows, columns]; neck, fused and attention [B, rows, columns]; float32. The attention is the
        mean over the structures' tokens, the background's left out.

    Raises:
        InputError: the network has no such method.
    """
    if not isinstance(network, ShowsFeatures):
        raise InputError(
            f"{type(network).__name__} does not show its features", expected="a network with the method `features`"
        )
    found = network.features(images)
    maps = {name: as_pictures(found[name], reduction) for name in ("layers", "neck", "fused")}
    return maps | {"attention": found["attention"][:, 1:].mean(dim=1).float().cpu().numpy()}


def extract_run(
    config: RunConfig,
    store: PreparedStore,
    split: dict[str, Any],
    weights: WeightsAtHand,
    out: Path,
    *,
    settings: Features,
    device: torch.device,
) -> dict[str, Any]:
    """Write a run's maps and the images they are of as `out` (.npz) and, last, what they were made from beside it.

    Raises:
        InputError: as `feature_maps`; no case, or the run has no whole slices.
    """
    cases, _ = cases_to_predict(config, store, split)
    chosen = sorted(cases)[: settings.slices]
    images = np.stack([_middle_slice(store, case, config) for case in chosen])
    network = load_network(config, store, weights).to(device)
    maps = feature_maps(network, torch.from_numpy(images).to(device), settings.reduction)
    out.with_suffix(".json").unlink(missing_ok=True)  # maps being rewritten have no record
    with atomic_path(out) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            images=images[:, 0],
            layers=maps["layers"],
            neck=maps["neck"],
            fused=maps["fused"],
            attention=maps["attention"],
        )
    data = store.digest_of(cases, "image")
    record = {
        "run": config.run,
        "made": lineage.features(config, weights=weights.digest, data=data, options=settings.options),
        "weights_sha256": weights.sha256,
        "cases": chosen,
        "axes": _axes(store, chosen[0], config.inference.slice_axis),
        **settings.model_dump(),
        "code_version": code_version(),
    }
    write_json(out.with_suffix(".json"), record)
    say(f"{config.run}: features of {len(chosen)} slices in {out}")
    return record


def _middle_slice(store: PreparedStore, case: str, config: RunConfig) -> np.ndarray:
    """The slice in the middle of a case as the network sees it: [C, H, W]."""
    axis, size = config.inference.slice_axis, config.inference.patch or config.training.patch
    image = store.open(case).image
    if len(size) != 2 or image.ndim != 4:
        raise InputError(f"{config.run}: features are shown of slices", expected="a volume and a patch of two sides")
    number = image.shape[axis + 1] // 2
    where = [slice(None)] * 4
    where[axis + 1] = slice(number, number + 1)
    return fit_slice(np.asarray(image[tuple(where)]).squeeze(axis + 1), size, config.inference)


def _axes(store: PreparedStore, case: str, slice_axis: int) -> str:
    """Where the two axes of a slice grow to, e.g. "RA"; empty where the scan is as stored."""
    codes = store.open(case).meta["orientation"]["prepared"] or ""
    return "".join(code for axis, code in enumerate(codes) if axis != slice_axis)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_trained_run_arguments(parser)
    defaults = Features()
    parser.add_argument("--out", type=Path, required=True, help="features.npz to write; its record goes beside it")
    parser.add_argument("--slices", type=int, default=defaults.slices, help="of so many cases the middle slice")
    parser.add_argument("--reduction", choices=("component", "mean"), default=defaults.reduction)


def main(arguments: argparse.Namespace) -> None:
    from benchmark.catalog.arguments import run_config

    extract_run(
        run_config(arguments),
        PreparedStore(arguments.store.parent),
        read_split(arguments.split),
        weights_of(arguments),
        arguments.out,
        settings=Features(slices=arguments.slices, reduction=arguments.reduction),
        device=device_of(arguments),
    )
