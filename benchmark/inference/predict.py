"""Label the cases of a trained run: one NIfTI per case, on the raw grid with the raw affine.

Each file carries a key of what it was made with (weights, inference settings, prepared store). Run again, cases whose
file is whole and has the right key are kept, all others are predicted; `predicted.json` is written last.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmark.catalog.settings import RunConfig
from benchmark.data.geometry import restore_labels, slice_patch
from benchmark.data.split import read_split
from benchmark.data.store import PreparedCase, PreparedStore
from benchmark.errors import InputError
from benchmark.files import atomic_path, file_digest, read_json, value_digest, write_json
from benchmark.images.nifti import read_nifti
from benchmark.inference.slices import on_slices, predict_whole
from benchmark.inference.sliding_window import Window, mirrored, predict_labels
from benchmark.models.registry import build_for_run
from benchmark.progress import say, track


def predict_image(network: nn.Module, image: Tensor, config: RunConfig, *, device: str | torch.device) -> Tensor:
    """Label one prepared image [C, *spatial] by the run's inference settings; labels [*spatial] on the CPU."""
    inference = config.inference
    patch = inference.patch or config.training.patch
    function = mirrored(network) if inference.mirror else network
    if inference.method == "whole":
        return predict_whole(
            function, image, patch, axis=inference.slice_axis, batch=inference.window_batch,
            device=device, precision=inference.precision,
        )  # fmt: skip
    if inference.method == "slices":
        function, patch = on_slices(function, inference.slice_axis), slice_patch(patch, inference.slice_axis)
    window = Window(patch, inference.overlap, inference.weighting, inference.sigma_scale, inference.window_batch)
    return predict_labels(function, image, window, device=device, precision=inference.precision)


def predict_run(
    config: RunConfig,
    store: PreparedStore,
    split: dict[str, Any],
    trained: Path,
    out: Path,
    *,
    device: torch.device,
    data: str = "",
) -> dict[str, Any]:
    """Predict the cases of `config.inference.splits` into `out.parent/predictions`, then write `out`.

    Args:
        data: what the raw data is (download, local, phantom), for the record.

    Returns:
        The content of predicted.json; cases of the split that the store lacks are under "missing".

    Raises:
        InputError: the training is of another configuration, or its weights are missing or do not fit.
    """
    weights, digest = read_trained(trained, config)
    key = value_digest([digest, config.inference.model_dump(mode="json"), store.digest])
    cases, missing = cases_to_predict(config, store, split)
    folder = out.parent / "predictions"
    remaining = [case for case in cases if not _is_done(folder / f"{case}.nii.gz", store.open(case), key)]
    say(f"{config.run}: {len(cases) - len(remaining)} of {len(cases)} cases are predicted already")
    if remaining:
        network = load_network(config, store, weights).to(device)
        for case in track(remaining, total=len(remaining), description=f"predicting on {device}"):
            _predict_case(network, store.open(case), config, folder / f"{case}.nii.gz", key, device)
    for case in missing:
        say(f"{case}: in the split, but not in the prepared store")
    summary = {
        "run": config.run,
        "digest": config.digest,
        "key": key,
        "data": data,
        "cases": sorted(cases),
        "missing": missing,
    }
    write_json(out, summary)
    return summary


def cases_to_predict(config: RunConfig, store: PreparedStore, split: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Cases of `config.inference.splits` that the store has, in the split's order, and those that it lacks.

    Raises:
        InputError: the store has none of them.
    """
    wanted = config.inference.cases(split)
    cases = [case for case in wanted if case in set(store.cases)]
    if not cases:
        raise InputError(
            "there is no case to predict",
            where=store.folder,
            expected="cases of " + ", ".join(config.inference.splits),
            found=f"{len(wanted)} in the split, none of them in the store",
        )
    return cases, sorted(set(wanted) - set(cases))


def read_trained(path: Path, config: RunConfig) -> tuple[Path, str]:
    """The weights file of a finished training, and its digest.

    Raises:
        InputError: trained.json is missing or damaged, belongs to another configuration, or its weights are gone or
            are not those it names.
    """
    try:
        trained = read_json(path)
        config_digest, weights = trained["digest"], path.parent / trained["weights"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "this is not a finished training", where=path, found=error, remedy="run `benchmark train`"
        ) from None
    if config_digest != config.digest:
        raise InputError(
            "the training is of another configuration",
            where=path,
            expected=config.digest,
            found=config_digest,
            remedy="train again, or predict with the paper_tables and scale it was trained with",
        )
    if not weights.is_file():
        raise InputError("the weights of the training are gone", where=weights, remedy=f"remove {path} and train again")
    digest = file_digest(weights)
    if digest != trained.get("sha256", digest):
        raise InputError(
            "the weights are not those that the training wrote",
            where=weights,
            expected=trained["sha256"],
            found=digest,
            remedy=f"remove {path} and train again",
        )
    return weights, digest


def load_network(config: RunConfig, store: PreparedStore, weights: Path) -> nn.Module:
    """The run's network with its trained weights, in evaluation mode on the CPU.

    Raises:
        InputError: the file is damaged, or its tensors are not those of the network.
    """
    network = build_for_run(config, in_channels=len(store.channels), out_channels=len(store.label_names) + 1)
    try:
        network.load_state_dict(load_file(weights))
    except SafetensorError as error:
        raise InputError("the weights file is damaged", where=weights, found=error, remedy="train again") from None
    except RuntimeError as error:
        raise InputError("the weights do not fit the network", where=weights, found=error) from None
    return network.eval()


def _predict_case(
    network: nn.Module, case: PreparedCase, config: RunConfig, path: Path, key: str, device: torch.device
) -> None:
    image = torch.from_numpy(np.asarray(case.image[:]))
    try:
        labels = predict_image(network, image, config, device=device).numpy()
    except InputError as error:
        raise InputError(f"{case.case}: {error.problem}", where=error.where or path, remedy=error.remedy) from error
    labels = restore_labels(labels, case.meta).astype(np.uint8)  # the store holds at most 255 classes
    result = nibabel.Nifti1Image(labels, np.array(case.meta["raw"]["affine"]))
    result.header["descrip"] = key
    with atomic_path(path) as temporary:
        result.to_filename(temporary)


def _is_done(path: Path, case: PreparedCase, key: str) -> bool:
    """Whether the file is there, was made with `key`, and can be read to its end."""
    if not path.is_file():
        return False
    try:
        volume = read_nifti(path)
        return (volume.grid.description, list(volume.array.shape)) == (key, case.meta["raw"]["shape"])
    except InputError:
        say(f"{path}: cannot be read and is predicted again")
        return False


def add_trained_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stages that look at cases with a trained run's network."""
    from benchmark.catalog.arguments import add_run_arguments

    add_run_arguments(parser)
    parser.add_argument("--store", type=Path, required=True, help="prepared.json written by prepare")
    parser.add_argument("--split", type=Path, required=True, help="split.json written by split")
    parser.add_argument("--trained", type=Path, required=True, help="trained.json written by train")
    parser.add_argument("--device", help="torch device (default: the GPU where there is one)")


def device_of(arguments: argparse.Namespace) -> torch.device:
    return torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_trained_run_arguments(parser)
    parser.add_argument("--source", type=Path, required=True, help="source.json written by fetch")
    parser.add_argument("--out", type=Path, required=True, help="predicted.json to write; label maps go beside it")


def main(arguments: argparse.Namespace) -> None:
    from benchmark.catalog.arguments import run_config

    config = run_config(arguments)
    predict_run(
        config,
        PreparedStore(arguments.store.parent),
        read_split(arguments.split),
        arguments.trained,
        arguments.out,
        device=device_of(arguments),
        data=read_json(arguments.source)["kind"],
    )
