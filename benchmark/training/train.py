"""`benchmark train`: train one run, or continue it. Exit code 75: stopped in order; the same command continues."""

from __future__ import annotations

import argparse
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmark.catalog.arguments import add_run_arguments, run_config
from benchmark.data.sampling import PatchDataset
from benchmark.data.store import PreparedStore
from benchmark.errors import EXIT_CONTINUE
from benchmark.files import file_digest, read_json, write_json
from benchmark.models.registry import build_for_run
from benchmark.models.released import find_weights, load_released, weight_sources
from benchmark.progress import say
from benchmark.settings import RunConfig
from benchmark.training.checkpoints import Checkpoints, training_identity, write_weights
from benchmark.training.locks import RunLock
from benchmark.training.loop import Machine, TrainingLoop
from benchmark.training.processes import seed_everything, start_processes
from benchmark.training.signals import StopRequest
from benchmark.training.validation import Validator
from benchmark.version import code_version
from benchmark.workers import available_processes

WEIGHTS = "final.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_arguments(parser)
    parser.add_argument("--store", type=Path, required=True, help="prepared.json of the run's prepared store")
    parser.add_argument("--split", type=Path, required=True, help="split.json")
    parser.add_argument("--out", type=Path, required=True, help="trained.json, written last; its folder is the run's")
    parser.add_argument("--workers", type=int, default=default_workers(), help="data processes per training process")
    parser.add_argument("--micro-batch", type=int, help="samples per forward pass; default: the protocol's, per GPU")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="folder of downloaded released weights")
    parser.add_argument("--tensorboard", action="store_true", help="also write TensorBoard event files")


def default_workers() -> int:
    """None beside two cores or fewer, where they would only take them from the network; else up to 8.

    Counted are the cores this job was given: SLURM need not bind it to them, and beside it run others.
    """
    cores = available_processes() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return 0 if cores <= 2 else min(cores - 1, 8)


def main(arguments: argparse.Namespace) -> int | None:
    stop = StopRequest()
    config = run_config(arguments)
    folder = arguments.out.parent
    first = int(os.environ.get("RANK", 0)) == 0
    lock = RunLock(folder, config.run) if first else None
    with lock or nullcontext():
        fabric = start_processes(config.training)
        loop, checkpoints, store = assemble(arguments, config, fabric, stop, lock)
        if not loop.run():
            say(f"{config.run}: stopped after {stop.received or 'a request to another process'}; run again to continue")
            return EXIT_CONTINUE
        if first:
            finish(arguments.out, config, loop, checkpoints, details={"data": store.digest})
        fabric.barrier()
    return None


def assemble(arguments: argparse.Namespace, config: RunConfig, fabric, stop: StopRequest, lock: RunLock | None):
    """Data, network, checkpoints and loop of a run."""
    store, split = PreparedStore(arguments.store.parent), read_json(arguments.split)
    training, slice_axis = config.training, config.inference.slice_axis
    samples = PatchDataset(store, split["train"], training, config.seed, slice_axis=slice_axis)
    network = make_network(config, store, weights=arguments.weights)
    checkpoints = Checkpoints(
        arguments.out.parent / "checkpoints",
        identity={**training_identity(config), "split digest": split["digest"], "prepared data digest": store.digest},
        details={"run": config.run, "config": config.model_dump(mode="json"), **versions(config)},
    )
    loop = TrainingLoop(
        fabric,
        config,
        network,
        samples,
        steps_per_epoch=samples.steps_per_epoch,
        folder=arguments.out.parent,
        checkpoints=checkpoints,
        machine=Machine(arguments.workers, arguments.micro_batch, arguments.tensorboard),
        validate=Validator(store, split["val"], training, slice_axis=slice_axis) if split["val"] else None,
        stop=stop,
        check_lock=lock.check if lock else lambda: None,
    )
    return loop, checkpoints, store


def make_network(config: RunConfig, store: PreparedStore, *, weights: Path) -> nn.Module:
    """The run's network with its initial weights, the same on every process.

    Raises:
        InputError: unknown network, option or weights.
    """
    seed_everything(config.seed)
    network = build_for_run(config, in_channels=len(store.channels), out_channels=len(store.label_names) + 1)
    if config.model.initialisation != "scratch":
        initialise(network, config.model.initialisation, weights)
    return network


def initialise(network: nn.Module, name: str, folder: Path) -> None:
    """Load the released weights `name` of the weights registry from `folder`; what was loaded is said."""
    path, source = find_weights(name, folder), weight_sources()[name]
    report = load_released(network, path, allow_partial=source.partial_for(network.registered_name))
    say(f"initialised from {name}: {report}")


def versions(config: RunConfig) -> dict[str, Any]:
    """What a result is traced to."""
    return {"config_digest": config.digest, "code_version": code_version(), "torch": torch.__version__}


def finish(
    out: Path, config: RunConfig, loop: TrainingLoop, checkpoints: Checkpoints, *, details: dict[str, Any]
) -> None:
    """Weights as safetensors, then trained.json, last."""
    weights = out.parent / WEIGHTS
    write_weights(weights, loop.network.module)
    record = {"run": config.run, "digest": config.digest, "steps": loop.total_steps, "weights": WEIGHTS}
    write_json(out, {**record, "sha256": file_digest(weights), **versions(config), **details})
    checkpoints.keep_newest()
    say(f"{config.run}: trained, {loop.total_steps} steps, weights in {weights}")
