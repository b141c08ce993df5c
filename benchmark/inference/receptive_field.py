"""`retable receptive-field`: how much each input pixel contributes to the centre of a trained encoder's features.

The paper (Swin-UMamba†, TMI, Section IV-H and Fig. 7) says that its maps were "computed based on the output features of
the encoder across 1000 random samples from the AbdomenMRI dataset", and gives neither a formula nor code. The measure
taken here is that of RepLKNet (Ding et al., CVPR 2022; released `erf/visualize_erf.py`): the features at the centre of
the map, negative ones as 0, are summed over channels; of that sum's gradient with respect to the image the positive
part is summed over image channels, and averaged over samples. Without "negative ones as 0" the sum over the channels of
layer-normalised features would be a constant, and its gradient 0.

Assumed, because nothing says otherwise: the weights are trained; the encoder's output is its deepest level, where the
decoder takes it over; the samples are patches of the test cases, drawn as the protocol draws training patches, without
augmentation; all networks see the same ones. The ledger of swin_umamba_dagger has the entry `receptive-field-measure`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from benchmark import lineage
from benchmark.data.sampling import PatchDataset
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
from benchmark.models.registry import ModelEntry, model_entry
from benchmark.models.weights_at_hand import WeightsAtHand
from benchmark.progress import say, track
from benchmark.settings import ReceptiveField, RunConfig
from benchmark.version import code_version

Contribution = Literal["positive", "absolute"]
SIGNS: dict[str, Callable[[Tensor], Tensor]] = {"positive": functional.relu, "absolute": torch.abs}
SAMPLES = ReceptiveField().samples
BATCH = 4


def contributions(
    network: nn.Module,
    images: Tensor,
    *,
    decoder: str,
    channels_last: bool = False,
    contribution: Contribution = "positive",
) -> Tensor:
    """What each pixel of each image contributes to the centre of the features that reach `decoder`: [B, H, W].

    Args:
        network: in evaluation mode.
        images: [B, C, H, W].
        decoder, channels_last: as in `ModelEntry`. The centre of h × w features is [h // 2, w // 2].
        contribution: positive: the gradient's positive part, as RepLKNet; absolute: its absolute value.

    Raises:
        InputError: the network has no such submodule, or its forward does not reach it.
    """
    images = images.detach().requires_grad_()
    with _centre_at(network, decoder, channels_last) as centres:
        network(images)
    if not centres:
        raise InputError(
            f"the network's forward does not reach its submodule {decoder!r}", found=type(network).__name__
        )
    (gradient,) = torch.autograd.grad(centres[0], images)
    return SIGNS[contribution](gradient).sum(dim=1)


@contextmanager
def _centre_at(network: nn.Module, decoder: str, channels_last: bool) -> Iterator[list[Tensor]]:
    """A list that gets, at each call of the submodule, the sum over the central features of its first argument."""
    centres: list[Tensor] = []

    def look(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        features = arguments[0] if isinstance(arguments[0], Tensor) else arguments[0][-1]
        features = features.movedim(-1, 1) if channels_last else features
        height, width = features.shape[2:]
        centres.append(functional.relu(features[:, :, height // 2, width // 2]).sum())

    try:
        handle = network.get_submodule(decoder).register_forward_pre_hook(look)
    except AttributeError as error:
        raise InputError(f"the network has no submodule {decoder!r}", found=error) from None
    try:
        yield centres
    finally:
        handle.remove()


def receptive_field(
    network: nn.Module,
    entry: ModelEntry,
    patches: PatchDataset,
    *,
    samples: int,
    contribution: Contribution = "positive",
    batch: int = BATCH,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """Mean contribution of each pixel over patches 0 … samples - 1: [H, W], float32.

    Raises:
        InputError: `samples` or `batch` is not positive, the map is not finite, or nothing contributes at all.
    """
    if min(samples, batch) < 1:
        raise InputError("there is nothing to average", expected="samples and batch of 1 or more", found=samples)
    network = network.to(device).eval().requires_grad_(False)
    total = torch.zeros(patches.training.patch, dtype=torch.float64)
    starts = range(0, samples, batch)
    for start in track(starts, total=len(starts), description=f"receptive field on {device}"):
        images = torch.stack([patches[index][0] for index in range(start, min(start + batch, samples))])
        found = contributions(
            network,
            images.to(device),
            decoder=str(entry.decoder),
            channels_last=entry.channels_last,
            contribution=contribution,
        )
        total += found.sum(dim=0, dtype=torch.float64).cpu()
    field = (total / samples).numpy().astype(np.float32)
    if not np.isfinite(field).all() or not field.any():
        raise InputError(
            "the network has no effective receptive field: "
            + (
                "nothing contributes to its central features"
                if np.isfinite(field).all()
                else "a gradient is not finite"
            ),
            found=f"{samples} samples of {patches.store.folder}",
            remedy="look at the run's training: its weights are dead or have overflowed",
        )
    return field


def check_defined(entry: ModelEntry, config: RunConfig) -> None:
    """Raises InputError for a run without a map [H, W]: 3-D patches, or a network that declares no encoder output."""
    if len(config.training.patch) != 2:
        raise InputError(
            f"{config.run}: receptive field maps are made of 2-D networks",
            expected="a patch of two sides",
            found=config.training.patch,
        )
    if entry.decoder is None:
        raise InputError(
            f"{entry.name} does not say where its encoder's output is",
            where=f"benchmark/models/{entry.name}.py",
            expected='@register(..., decoder="name of the submodule that takes the deepest features")',
            remedy="declare it, or leave the row out of the figure",
        )


def measure_run(
    config: RunConfig,
    store: PreparedStore,
    split: dict[str, Any],
    weights: WeightsAtHand,
    out: Path,
    *,
    samples: int = SAMPLES,
    contribution: Contribution = "positive",
    batch: int = BATCH,
    device: torch.device,
) -> dict[str, Any]:
    """Write a run's map as `out` (.npy, [H, W] float32) and, last, what it was made from as `out` with .json.

    Raises:
        InputError: as `check_defined` and `receptive_field`; no case, or the training is not that of the run.
    """
    entry = model_entry(config.model.name)
    check_defined(entry, config)
    cases, _ = cases_to_predict(config, store, split)
    plain = config.training.model_copy(update={"augmentation": ()})
    patches = PatchDataset(store, sorted(cases), plain, config.seed, slice_axis=config.inference.slice_axis)
    field = receptive_field(
        load_network(config, store, weights),
        entry,
        patches,
        samples=samples,
        contribution=contribution,
        batch=batch,
        device=device,
    )
    out.with_suffix(".json").unlink(missing_ok=True)  # a map being rewritten has no record
    with atomic_path(out) as temporary:
        np.save(temporary, field)
    settings = ReceptiveField(samples=samples, contribution=contribution)
    record = _record(config, weights, settings, cases=len(cases), data=store.digest_of(cases, "image"))
    write_json(out.with_suffix(".json"), record)
    say(f"{config.run}: receptive field over {samples} samples of {len(cases)} cases in {out}")
    return record


def _record(
    config: RunConfig, weights: WeightsAtHand, settings: ReceptiveField, *, cases: int, data: str
) -> dict[str, Any]:
    """What a map was made from; `data` is the digest of the cases' images."""
    return {
        "run": config.run,
        "made": lineage.receptive_field(config, weights=weights.digest, data=data, options=settings.options),
        "weights_sha256": weights.sha256,
        "cases": cases,
        "splits": list(config.inference.splits),
        "samples": settings.samples,
        "contribution": settings.contribution,
        "seed": config.seed,
        "code_version": code_version(),
        "torch": torch.__version__,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_trained_run_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, help="receptive_field.npy to write; its record goes beside it"
    )
    parser.add_argument("--samples", type=int, default=SAMPLES, help=f"patches to average over (default: {SAMPLES})")
    parser.add_argument("--contribution", choices=list(SIGNS), default="positive", help="which part of the gradient")
    parser.add_argument("--batch", type=int, default=BATCH, help=f"patches at a time (default: {BATCH})")


def main(arguments: argparse.Namespace) -> None:
    from benchmark.catalog.arguments import run_config

    measure_run(
        run_config(arguments),
        PreparedStore(arguments.store.parent),
        read_split(arguments.split),
        weights_of(arguments),
        arguments.out,
        samples=arguments.samples,
        contribution=arguments.contribution,
        batch=arguments.batch,
        device=device_of(arguments),
    )
