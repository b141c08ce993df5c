"""Label the cases of a trained run: one NIfTI per case, on the raw grid with the raw affine.

Each file carries a key of what it was made with (weights, inference settings, prepared store). Run again, cases whose
file is whole and has the right key are kept, all others are predicted; `predicted.json` is written last.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from benchmark import lineage
from benchmark.data.geometry import restore_labels
from benchmark.data.prompts import Points, read_points
from benchmark.data.source import source_kind
from benchmark.data.split import read_split
from benchmark.data.store import PreparedCase, PreparedStore
from benchmark.errors import InputError
from benchmark.files import atomic_path, value_digest, write_json
from benchmark.forced import take_forced
from benchmark.images.nifti import read_nifti
from benchmark.inference.components import Parts, parts_of
from benchmark.inference.image import from_network_grid, predict_raw_labels, predict_small
from benchmark.layout import NETWORK_GRID
from benchmark.lineage import Made
from benchmark.models.layers.narrow_convolutions import arrange_for_cpu
from benchmark.models.registry import build_for_run
from benchmark.models.released import load_released, weight_source
from benchmark.models.weights_at_hand import WeightsAtHand, weights_at_hand
from benchmark.progress import say, track
from benchmark.settings import RunConfig
from benchmark.version import code_version


def predict_run(
    config: RunConfig,
    store: PreparedStore,
    split: dict[str, Any],
    weights: WeightsAtHand,
    out: Path,
    *,
    device: torch.device,
    data: str = "",
    anew: bool = False,
    prompts: Path | None = None,
) -> dict[str, Any]:
    """Predict the cases of `config.inference.splits` into `out.parent/predictions`, then write `out`.

    With `inference.network_grid`, the labels as large as the network saw them go to `out.parent/network_grid`.

    Args:
        anew: predict also the cases that are done.
        data: what the raw data is (download, local, phantom), for the record.
        prompts: prompts.json, for the method prompted.

    Returns:
        The content of predicted.json; cases of the split that the store lacks are under "missing".

    Raises:
        InputError: the store has no case of the split, the weights do not fit, or points are missing.
    """
    cases, missing = cases_to_predict(config, store, split)
    points, told = _points(config, prompts)
    made = lineage.predicted(config, weights=weights.digest, data=store.digest_of(cases, "image"), prompts=told)
    keys = {case: _key(made, weights, store.open(case)) for case in cases}
    places = {case: _places(out.parent, case, config) for case in cases}
    parts = parts_of(config.inference, list(store.label_names))
    done = {case for case in cases if not anew and _is_done(places[case], store.open(case), keys[case])}
    remaining = [case for case in cases if case not in done]
    say(f"{config.run}: {len(cases) - len(remaining)} of {len(cases)} cases are predicted already")
    if remaining:
        network = load_network(config, store, weights).to(device)
        if device.type == "cpu":
            arrange_for_cpu(network)
        for case in track(remaining, total=len(remaining), description=f"predicting on {device}"):
            _predict_case(network, store.open(case), config, places[case], keys[case], device, points.get(case), parts)
    for case in missing:
        say(f"{case}: in the split, but not in the prepared store")
    summary = {
        "run": config.run,
        "data": data,
        "made": made,
        "weights_made": weights.made,
        "weights_sha256": weights.sha256,
        "code_version": code_version(),
        "cases": sorted(cases),
        "missing": missing,
    }
    write_json(out, summary)
    return summary


def _points(config: RunConfig, prompts: Path | None) -> tuple[Mapping[str, Points], str | None]:
    """The points that the cases are told, and their digest; none for other methods.

    Raises:
        InputError: the method needs a file of points, or has no use for one.
    """
    needed = config.inference.method == "prompted"
    if needed != (prompts is not None):
        raise InputError(
            f"{config.run}: the method {config.inference.method} {'needs' if needed else 'takes no'} points",
            where="--prompts",
            expected="prompts.json, as `retable prompts` writes it" if needed else "nothing",
            found=prompts,
        )
    return ({}, None) if prompts is None else (read_points(prompts), lineage.recorded_digest(prompts))


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


def _key(made: Made, weights: WeightsAtHand, case: PreparedCase) -> str:
    """What one case's label map is made with: of the other cases it does not depend."""
    return value_digest([{**made, "data": case.meta["digests"]["image"]}, weights.sha256])


def load_network(config: RunConfig, store: PreparedStore, weights: WeightsAtHand) -> nn.Module:
    """The run's network with its weights, in evaluation mode on the CPU.

    Raises:
        InputError: the file is damaged, or its tensors are not those of the network.
    """
    network = build_for_run(config, in_channels=len(store.channels), out_channels=len(store.label_names) + 1)
    if weights.released is not None:
        load_released(network, weights.path, allow_partial=weight_source(weights.released).partial)
        return network.eval()
    try:
        network.load_state_dict(load_file(weights.path))
    except SafetensorError as error:
        raise InputError("the weights file is damaged", where=weights.path, found=error, remedy="train again") from None
    except RuntimeError as error:
        raise InputError("the weights do not fit the network", where=weights.path, found=error) from None
    return network.eval()


def _places(folder: Path, case: str, config: RunConfig) -> list[Path]:
    """Files of a case's labels: on the raw grid and, where it is kept, before it on the network's."""
    kept = [NETWORK_GRID] if config.inference.network_grid else []
    return [folder / name / f"{case}.nii.gz" for name in (*kept, "predictions")]


def _predict_case(
    network: nn.Module,
    case: PreparedCase,
    config: RunConfig,
    places: list[Path],
    key: str,
    device: torch.device,
    points: Points | None,
    parts: Parts,
) -> None:
    try:
        if config.inference.network_grid:
            image = torch.from_numpy(np.asarray(case.image[:]))
            small = predict_small(network, image, config, device=device, points=points).numpy()
            _write(places[0], small, np.eye(4), key)
            labels = restore_labels(from_network_grid(small, image.shape[1:], config), case.meta)
        else:
            labels = predict_raw_labels(network, case, config, device=device, points=points)
    except InputError as error:
        raise InputError(
            f"{case.case}: {error.problem}", where=error.where or places[-1], remedy=error.remedy
        ) from error
    _write(places[-1], parts.of(labels), np.array(case.meta["raw"]["affine"]), key)


def _write(path: Path, labels: np.ndarray, affine: np.ndarray, key: str) -> None:
    result = nibabel.Nifti1Image(labels.astype(np.uint8), affine)  # the store holds at most 255 classes
    result.header["descrip"] = key
    with atomic_path(path) as temporary:
        result.to_filename(temporary)


def _is_done(places: list[Path], case: PreparedCase, key: str) -> bool:
    """Whether the files are there, were made with `key`, and can be read to their end."""
    for path in places:
        if not path.is_file():
            return False
        try:
            volume = read_nifti(path)
        except InputError:
            say(f"{path}: cannot be read and is predicted again")
            return False
        if volume.grid.description != key:
            return False
    return volume.array.shape == tuple(case.meta["raw"]["shape"])


def add_trained_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stages that look at cases with a trained run's network."""
    from benchmark.catalog.arguments import add_run_arguments

    add_run_arguments(parser)
    parser.add_argument("--store", type=Path, required=True, help="prepared.json written by prepare")
    parser.add_argument("--split", type=Path, required=True, help="split.json written by split")
    parser.add_argument("--weights", type=Path, required=True, help="trained.json, or the record of released weights")
    parser.add_argument("--device", help="torch device (default: the GPU where there is one)")


def weights_of(arguments: argparse.Namespace) -> WeightsAtHand:
    """The weights of a command line: those of the training that the run's protocol names."""
    from benchmark.catalog.arguments import catalog_of_run

    training = catalog_of_run(arguments).training(arguments.run, arguments.scale)
    return weights_at_hand(arguments.weights, training)


def device_of(arguments: argparse.Namespace) -> torch.device:
    return torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_trained_run_arguments(parser)
    parser.add_argument("--source", type=Path, required=True, help="source.json written by fetch")
    parser.add_argument(
        "--prompts", type=Path, nargs="*", default=[], help="prompts.json, for networks asked by points"
    )
    parser.add_argument("--out", type=Path, required=True, help="predicted.json to write; label maps go beside it")


def main(arguments: argparse.Namespace) -> None:
    from benchmark.catalog.arguments import run_config

    config = run_config(arguments)
    predict_run(
        config,
        PreparedStore(arguments.store.parent),
        read_split(arguments.split),
        weights_of(arguments),
        arguments.out,
        device=device_of(arguments),
        data=source_kind(arguments.source, config.dataset),
        anew=take_forced(arguments.out),
        prompts=next(iter(arguments.prompts), None),
    )
