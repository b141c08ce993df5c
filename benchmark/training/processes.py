"""Devices, processes and randomness: everything that depends on where a training runs."""

from __future__ import annotations

import os
import random
import resource
import socket
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.fabric.strategies import DDPStrategy, SingleDeviceStrategy
from torch.futures import Future

from benchmark.errors import InputError
from benchmark.progress import say
from benchmark.settings import Training
from benchmark.workers import available_processes

# What a launcher tells each process. Only torchrun's own agents, of which ours is one, also say which launch it was.
LAUNCH = "TORCHELASTIC_RUN_ID"
PLACES = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK")
COLLECTIVE_TIMEOUT = timedelta(minutes=30)  # other ranks wait this long for the first one's checkpoint or validation


def refuse_leftovers() -> None:
    """Without a launcher this process is alone: what an earlier one left in the environment must not say otherwise.

    Left alone, a rank would keep it from saving, and a number of processes would have it wait for others for ever.

    Raises:
        InputError: the environment says that this is one of several processes, and no launcher started it.
    """
    if LAUNCH in os.environ:
        return
    left = {name: os.environ[name] for name in PLACES if name in os.environ}
    if any(value.strip() != ("1" if name.endswith("SIZE") else "0") for name, value in left.items()):
        raise InputError(
            "the environment speaks of several training processes, and no launcher started this one",
            where="environment",
            expected=f"none of {', '.join(PLACES)}, or all of a launcher's own",
            found=", ".join(f"{name}={value}" for name, value in left.items()),
            remedy=f"unset {' '.join(left)}; for several GPUs: python -m benchmark.training.launch GPUS python -m …",
        )


def start_processes(training: Training) -> Fabric:
    """Join the process group that torchrun describes, or run alone; precision and batch are checked here.

    One process per GPU with nccl where there are GPUs, gloo on CPUs. Mixed precision needs a GPU: on a CPU the
    network runs in float32, and a line says so. On a CPU everything is deterministic, with a fixed thread count.

    Raises:
        InputError: the global batch cannot be shared equally, or there are fewer GPUs than processes on this node; as
            `refuse_leftovers`.
    """
    refuse_leftovers()
    world, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if training.batch % world:
        divisors = [number for number in range(1, training.batch + 1) if training.batch % number == 0]
        raise InputError(
            f"a global batch of {training.batch} cannot be shared by {world} processes",
            expected=f"a number of processes among {divisors}",
            found=world,
        )
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and torch.cuda.device_count() < local:
        raise InputError("more processes than GPUs on this node", expected=torch.cuda.device_count(), found=local)
    torch.backends.cudnn.benchmark = True  # patches have one size; GPU training is reproduced statistically
    if accelerator == "cpu":
        make_deterministic(threads=max(available_processes() // local, 1))
    elastic = LAUNCH in os.environ
    fabric = Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=world // local,
        strategy=_strategy(accelerator, world, training),
        precision=training.precision if accelerator == "cuda" else "32-true",
        plugins=[TorchElasticEnvironment() if elastic else LightningEnvironment()],
    )
    fabric.launch()
    if accelerator == "cpu" and training.precision != "32-true" and fabric.is_global_zero:
        say(f"precision {training.precision} needs a GPU: training in 32-true on this CPU")
    return fabric


def _strategy(accelerator: str, world: int, training: Training) -> DDPStrategy | SingleDeviceStrategy:
    if world == 1:
        return SingleDeviceStrategy(device=torch.device(accelerator, 0) if accelerator == "cuda" else "cpu")
    return DDPStrategy(
        process_group_backend="nccl" if accelerator == "cuda" else "gloo",
        timeout=COLLECTIVE_TIMEOUT,
        find_unused_parameters=training.find_unused_parameters,
    )


def make_deterministic(*, threads: int) -> None:
    """Two CPU runs with the same thread count are equal bit by bit."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # costs time and hides nothing we rely on


def set_up_network(
    fabric: Fabric, network: torch.nn.Module, optimiser: torch.optim.Optimizer, training: Training
) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Move network and optimiser to the device, wrap them for DDP; returns both.

    Parameters that no forward reaches, as the network declares (`unused_parameters`, name patterns), are marked as
    such: DDP would wait for their gradients. They are not trained either way.
    """
    unused = getattr(network, "unused_parameters", ())
    for name, parameter in network.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in unused):
            parameter.requires_grad_(False)
    if training.synchronise_batch_norm and fabric.world_size > 1:
        if fabric.device.type == "cuda":
            network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)
        elif fabric.is_global_zero:
            say("synchronised batch normalisation needs GPUs: statistics are per process here")
    network, optimiser = fabric.setup(network, optimiser)
    if fabric.world_size > 1 and fabric.device.type == "cpu":
        network._forward_module.register_comm_hook(None, mean_in_rank_order)
    return network, optimiser


def mean_in_rank_order(state, bucket):
    """DDP hook for CPUs, (None, GradBucket) -> Future[Tensor]: gradients are summed rank by rank.

    DDP regroups its buckets after the first step, and gloo's ring adds in an order that depends on the position in the
    bucket; so a resumed run of more than two ranks would differ in the last bit from an uninterrupted one.
    """
    # (DDP inspects annotations and refuses those that are strings, as they are in this file, so there are none.)
    gradient = bucket.buffer()
    parts = [torch.empty_like(gradient) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, gradient)
    total = parts[0]
    for part in parts[1:]:
        total += part
    future: Future[torch.Tensor] = Future()
    future.set_result(total.div_(len(parts)))
    return future


def share_buffers(network: torch.nn.Module) -> None:
    """Every process takes the first one's buffers (batch statistics), as DDP does before its next forward pass."""
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, 0)


def seed_everything(seed: int, *, rank: int = 0, step: int = 0) -> None:
    """Seed python, numpy and torch; every rank and every fresh start at a later step gets its own stream."""
    value = int(np.random.SeedSequence((seed, rank, step)).generate_state(1)[0])
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


def random_state() -> dict[str, Any]:
    """State of every generator of this process, in types that torch.load(weights_only=True) accepts."""
    numpy_state = np.random.get_state(legacy=False)
    numpy_state["state"]["key"] = torch.from_numpy(numpy_state["state"]["key"].astype(np.int64))
    cuda = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    return {"python": random.getstate(), "numpy": numpy_state, "torch": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: dict[str, Any]) -> None:
    """Undo `random_state`."""
    random.setstate(state["python"])
    numpy_state = {**state["numpy"], "state": dict(state["numpy"]["state"])}
    numpy_state["state"]["key"] = numpy_state["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state(numpy_state)
    torch.set_rng_state(state["torch"])
    for cuda in state["cuda"]:
        torch.cuda.set_rng_state(cuda)


def continue_randomness(fabric: Fabric, state: dict[str, Any], *, seed: int) -> None:
    """Restore this process's generators from a checkpoint; with another number of processes, start new streams.

    A line says when the continued training can no longer be equal bit by bit.
    """
    states, threads = state["random"], state["threads"]
    if len(states) == fabric.world_size:
        restore_random_state(states[fabric.global_rank])
    else:
        seed_everything(seed, rank=fabric.global_rank, step=state["step"])
    if (len(states), threads) != (fabric.world_size, torch.get_num_threads()) and fabric.is_global_zero:
        say(
            f"this checkpoint was written by {len(states)} processes of {threads} threads: the order of samples is "
            "kept, but results agree only to rounding and to the random draws inside the network"
        )


def peak_memory_mb(device: torch.device) -> float:
    """Peak so far: allocated on the GPU where there is one, else resident memory of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def gather_objects(value: Any) -> list[Any]:
    """`value` of every rank, in rank order, on every rank."""
    if not (torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1):
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def rank_table(fabric: Fabric) -> str:
    """One line per process: where it runs and on what."""
    cuda = fabric.device.type == "cuda"
    device = torch.cuda.get_device_name(fabric.device) if cuda else f"CPU, {torch.get_num_threads()} threads"
    mine = f"{fabric.global_rank:>4}  {socket.gethostname()}  process {os.getpid()}  {fabric.device}  {device}"
    return "\n".join([f"rank  of {fabric.world_size} processes", *gather_objects(mine)])
