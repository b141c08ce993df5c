"""`train`: train one run, or continue it. Exit code 75: stopped in order; the same command continues.

What a training is made of (`benchmark.lineage`) decides what of an earlier one is taken over: with the same settings,
data, beginnings and code it continues or is found finished; otherwise the earlier one is set aside and it starts anew.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmark import lineage
from benchmark.catalog.arguments import add_run_arguments, run_config
from benchmark.data.split import load_split
from benchmark.data.store import PreparedStore
from benchmark.errors import EXIT_CONTINUE, InputError
from benchmark.files import file_digest, write_json
from benchmark.forced import take_forced
from benchmark.lineage import Made
from benchmark.models.registry import build_for_run
from benchmark.models.weights_at_hand import WeightsAtHand, weights_at_hand
from benchmark.progress import say
from benchmark.settings import RunConfig
from benchmark.training.beginnings import begin
from benchmark.training.checkpoints import Checkpoints, set_aside, write_weights
from benchmark.training.locks import RunLock
from benchmark.training.loop import Machine, TrainingLoop
from benchmark.training.material import Material, make_material
from benchmark.training.objectives import make_objective
from benchmark.training.processes import Processes, refuse_leftovers, start_processes
from benchmark.training.randomness import seed_everything
from benchmark.training.signals import StopRequest
from benchmark.version import code_version
from benchmark.workers import available_processes

WEIGHTS = "final.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_arguments(parser)
    parser.add_argument("--stores", type=Path, nargs="+", required=True, help="prepared.json of each store it reads")
    parser.add_argument("--splits", type=Path, nargs="+", required=True, help="split.json of each of them")
    parser.add_argument(
        "--beginnings", type=Path, nargs="*", default=[], help="records of the weights that the network begins from"
    )
    parser.add_argument("--out", type=Path, required=True, help="trained.json, written last; its folder is the run's")
    parser.add_argument("--workers", type=int, default=default_workers(), help="data processes per training process")
    parser.add_argument("--micro-batch", type=int, help="samples per forward pass; default: the protocol's, per GPU")
    parser.add_argument("--tensorboard", action="store_true", help="also write TensorBoard event files")


def default_workers() -> int:
    """None beside two cores or fewer, where they would only take them from the network; else up to 8.

    Counted are the cores this job was given: SLURM need not bind it to them, and beside it run others.
    """
    cores = available_processes() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return 0 if cores <= 2 else min(cores - 1, 8)


@dataclass(frozen=True)
class Inputs:
    """What a training reads, checked: its stores with their splits, and the weights that it begins from.

    Attributes:
        names: of the stores.
        made: what the training is made of.
    """

    names: tuple[str, ...]
    stores: tuple[PreparedStore, ...]
    splits: tuple[dict[str, Any], ...]
    beginnings: tuple[WeightsAtHand, ...]
    made: Made

    def check_unchanged(self) -> None:
        """Before anything is kept: the data are still those that the training began with.

        Raises:
            InputError: a store was prepared anew meanwhile, and a training case has changed with it.
        """
        for name, store, split in zip(self.names, self.stores, self.splits, strict=True):
            if PreparedStore(store.folder).digest != store.digest and _data(store, split) != self.made[f"data.{name}"]:
                raise InputError(
                    "the training data changed under the training",
                    where=store.folder,
                    remedy="run again: it starts from the beginning, with the new data",
                )


def read_inputs(arguments: argparse.Namespace, config: RunConfig) -> Inputs:
    """The inputs that a command line names.

    Raises:
        InputError: one is missing or damaged, or their number is not that of the recipe.
    """
    expected = len(config.begins_from) + len(config.model.released)
    for what, found, wanted in (
        ("--stores", arguments.stores, len(config.stores)),
        ("--splits", arguments.splits, len(config.stores)),
        ("--beginnings", arguments.beginnings, expected),
    ):
        if len(found) != wanted:
            raise InputError(
                f"{config.run} reads another number of files", where=what, expected=wanted, found=len(found)
            )
    names = tuple(store.id for store in config.stores)
    stores = tuple(PreparedStore(path.parent) for path in arguments.stores)
    splits = tuple(load_split(path) for path in arguments.splits)
    beginnings = tuple(weights_at_hand(path, None) for path in arguments.beginnings)
    parts = [*(edge.part for edge in config.begins_from), *lineage.released_parts(config)]
    made = lineage.trained(
        config,
        data={name: _data(store, split) for name, store, split in zip(names, stores, splits, strict=True)},
        begins_from={part: weights.digest for part, weights in zip(parts, beginnings, strict=True)},
    )
    return Inputs(names, stores, splits, beginnings, made)


def _data(store: PreparedStore, split: dict[str, Any]) -> str:
    return store.digest_of(split["train"], "case")


def main(arguments: argparse.Namespace) -> int | None:
    stop = StopRequest()
    refuse_leftovers()
    config = run_config(arguments)
    folder = arguments.out.parent
    first = int(os.environ.get("RANK", 0)) == 0
    lock = RunLock(folder, config.run) if first else None
    with lock or nullcontext():
        inputs = read_inputs(arguments, config)
        processes = start_processes(config.training)
        if first:
            set_aside(folder, inputs.made, forced=take_forced(arguments.out))
        processes.barrier()
        loop, checkpoints = assemble(arguments, config, processes, stop, lock, inputs)
        if not loop.run():
            say(f"{config.run}: stopped after {stop.received or 'a request to another process'}; run again to continue")
            return EXIT_CONTINUE
        if first:
            finish(arguments.out, config, loop, checkpoints, inputs)
        processes.barrier()
    return None


def assemble(
    arguments: argparse.Namespace,
    config: RunConfig,
    processes: Processes,
    stop: StopRequest,
    lock: RunLock | None,
    inputs: Inputs,
) -> tuple[TrainingLoop, Checkpoints]:
    """Data, network, checkpoints and loop of a run."""
    material = make_material(config, inputs.stores, inputs.splits)
    checkpoints = Checkpoints(
        arguments.out.parent / "checkpoints",
        identity=inputs.made,
        details={"run": config.run, "config": config.model_dump(mode="json"), **versions(config)},
    )

    def check() -> None:
        inputs.check_unchanged()
        if lock:
            lock.check()

    loop = TrainingLoop(
        processes,
        config,
        make_network(config, material, inputs.beginnings),
        material.samples,
        steps_per_epoch=material.steps_per_epoch,
        folder=arguments.out.parent,
        checkpoints=checkpoints,
        objective=make_objective(config.training, material.classes, material.ignore),
        machine=Machine(arguments.workers, arguments.micro_batch, arguments.tensorboard),
        validate=material.validate,
        selector=material.selector,
        stop=stop,
        check_lock=check,
    )
    return loop, checkpoints


def make_network(config: RunConfig, material: Material, beginnings: Sequence[WeightsAtHand]) -> nn.Module:
    """The network of a training with its initial weights, the same on every process.

    Raises:
        InputError: unknown network or option, or weights that do not fit.
    """
    seed_everything(config.seed)
    reconstructs = config.training.objective == "masked_images"
    outputs = material.in_channels if reconstructs else max(material.classes)
    network = build_for_run(config, in_channels=material.in_channels, out_channels=outputs)
    begin(network, config, beginnings)
    return network


def versions(config: RunConfig) -> dict[str, Any]:
    """What a result is traced to."""
    return {"config_digest": config.digest, "code_version": code_version(), "torch": torch.__version__}


def finish(out: Path, config: RunConfig, loop: TrainingLoop, checkpoints: Checkpoints, inputs: Inputs) -> None:
    """Weights as safetensors, then trained.json, last.

    The record names the code that wrote the first and the last checkpoint: a training may go on under newer code.
    """
    weights = out.parent / WEIGHTS
    write_weights(weights, loop.network.module)
    record = {"run": config.run, "steps": loop.total_steps, "weights": WEIGHTS, "sha256": file_digest(weights)}
    if loop.selector is not None:
        record["selected_step"] = loop.selector.step
    code = {"code_versions": checkpoints.code_versions()}
    write_json(out, {**record, "made": inputs.made, **versions(config), **code})
    checkpoints.keep_newest()
    say(f"{config.run}: trained, {loop.total_steps} steps, weights in {weights}")
