"""The processes that train together: who they are, what they tell each other, and the network that they share."""

from __future__ import annotations

import atexit
import os
import resource
import socket
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import Tensor, distributed, nn
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from benchmark.environment import keep_freed_memory
from benchmark.errors import InputError
from benchmark.models.layers.narrow_convolutions import arrange_for_cpu
from benchmark.progress import say
from benchmark.settings import Training
from benchmark.training.randomness import make_deterministic
from benchmark.workers import available_processes

AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
# What a launcher tells each process. Only torchrun's own agents, of which ours is one, also say which launch it was.
LAUNCH = "TORCHELASTIC_RUN_ID"
PLACES = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK")
QUALITY_HEAD = "iou_prediction_head"
COLLECTIVE_TIMEOUT = timedelta(minutes=30)  # other ranks wait this long for the first one's checkpoint or validation


@dataclass(frozen=True)
class Processes:
    """The processes that train together, seen from this one.

    Attributes:
        rank, world: this process among all of them, on all nodes.
        device: where this process trains.
        precision: of forward passes; "32-true" on CPUs.
        scaler: of losses, which keeps gradients of half precision from vanishing; disabled in other precisions.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    scaler: torch.amp.GradScaler = field(default_factory=lambda: torch.amp.GradScaler(enabled=False))

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager:
        """Mixed precision inside, where there is any."""
        if self.precision == "32-true":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=AUTOCAST[self.precision])

    def to_device(self, batch: Sequence[Tensor]) -> list[Tensor]:
        """The tensors of a batch on this device; from pinned memory a GPU copies while it computes."""
        return [tensor.to(self.device, non_blocking=self.device.type == "cuda") for tensor in batch]

    def update(self, optimiser: torch.optim.Optimizer, *, clip_norm: float | None) -> None:
        """One optimiser step from the gradients that are there, clipped to a norm if one is given; clears them."""
        if clip_norm is not None:
            self.scaler.unscale_(optimiser)
            parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(parameters, clip_norm)
        self.scaler.step(optimiser)
        self.scaler.update()
        optimiser.zero_grad(set_to_none=True)

    def gather(self, values: Tensor) -> list[list[float]]:
        """The numbers [n] of every process, in rank order, on every process."""
        if self.world == 1:
            return [values.tolist()]
        values = values.to(self.device)
        parts = [torch.empty_like(values) for _ in range(self.world)]
        distributed.all_gather(parts, values)
        return [part.tolist() for part in parts]

    def broadcast(self, value: Any) -> Any:
        """What the first process has, on every process."""
        values = [value]
        if self.world > 1:
            distributed.broadcast_object_list(values, src=0)
        return values[0]

    def barrier(self) -> None:
        """Wait for the others."""
        if self.world > 1:
            distributed.barrier()


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


def start_processes(training: Training) -> Processes:
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
    device = _device(local)
    torch.backends.cudnn.benchmark = True  # patches have one size; GPU training is reproduced statistically
    if device.type == "cpu":
        make_deterministic(threads=max(available_processes() // local, 1))
        keep_freed_memory()
    if world > 1 and not distributed.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=COLLECTIVE_TIMEOUT)
        atexit.register(_leave)
    rank = int(os.environ.get("RANK", 0))
    if device.type == "cpu":
        if training.precision != "32-true" and rank == 0:
            say(f"precision {training.precision} needs a GPU: training in 32-true on this CPU")
        return Processes(rank, world, device)
    scaler = torch.amp.GradScaler("cuda", enabled=training.precision == "16-mixed")
    return Processes(rank, world, device, training.precision, scaler)


def _device(local: int) -> torch.device:
    """This process's own GPU, or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if torch.cuda.device_count() < local:
        raise InputError("more processes than GPUs on this node", expected=torch.cuda.device_count(), found=local)
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.cuda.set_device(device)
    return device


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


class TrainedNetwork(nn.Module):
    """A network as the loop calls it: data parallel over the processes, in their precision, with float32 outputs.

    Attributes:
        module: the network itself, whose parameters these are.
    """

    def __init__(self, network: nn.Module, processes: Processes, *, find_unused_parameters: bool) -> None:
        super().__init__()
        self.module = network.to(processes.device)
        if processes.device.type == "cpu":
            arrange_for_cpu(self.module)
        self.autocast = processes.autocast
        self.parallel: DistributedDataParallel | None = None
        if processes.world > 1:
            devices = [processes.device] if processes.device.type == "cuda" else None
            self.parallel = DistributedDataParallel(
                self.module, device_ids=devices, find_unused_parameters=find_unused_parameters
            )
            if devices is None:
                self.parallel.register_comm_hook(None, mean_in_rank_order)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The network's outputs; losses are taken in float32 whatever the precision inside."""
        with self.autocast():
            outputs = (self.parallel or self.module)(*inputs, **options)
        return _in_float32(outputs)

    def without_sync(self) -> AbstractContextManager:
        """Gradients of the backward passes inside stay on their process; the next one outside sums them all."""
        return self.parallel.no_sync() if self.parallel is not None else nullcontext()


def _in_float32(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.is_floating_point() else outputs
    if isinstance(outputs, Mapping):
        return {name: _in_float32(output) for name, output in outputs.items()}
    return type(outputs)(_in_float32(output) for output in outputs) if isinstance(outputs, list | tuple) else outputs


def set_up_network(processes: Processes, network: nn.Module, training: Training) -> TrainedNetwork:
    """Move the network to its device and make it data parallel.

    Parameters that no forward reaches, as the network declares (`unused_parameters`, name patterns), are marked as
    such: DDP would wait for their gradients. They are not trained either way. A head of predicted quality is reached
    where the loss has a term for it.
    """
    unused = getattr(network, "unused_parameters", ())
    if training.prompted is not None and training.prompted.loss.quality != "none":
        unused = tuple(pattern for pattern in unused if QUALITY_HEAD not in pattern)
    for name, parameter in network.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in unused):
            parameter.requires_grad_(False)
    if training.synchronise_batch_norm and processes.world > 1:
        if processes.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        elif processes.first:
            say("synchronised batch normalisation needs GPUs: statistics are per process here")
    return TrainedNetwork(network, processes, find_unused_parameters=training.find_unused_parameters)


def mean_in_rank_order(state, bucket):
    # type: (None, distributed.GradBucket) -> Future[Tensor]
    """DDP hook for CPUs: gradients are summed rank by rank.

    DDP regroups its buckets after the first step, and gloo's ring adds in an order that depends on the position in the
    bucket; so a resumed run of more than two ranks would differ in the last bit from an uninterrupted one.
    """
    # (DDP inspects annotations and refuses those that are strings, as they are in this file; hence the comment.)
    gradient = bucket.buffer()
    parts = [torch.empty_like(gradient) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, gradient)
    total = parts[0]
    for part in parts[1:]:
        total += part
    future: Future[torch.Tensor] = Future()
    future.set_result(total.div_(len(parts)))
    return future


def share_buffers(network: nn.Module) -> None:
    """Every process takes the first one's buffers (batch statistics), as DDP does before its next forward pass."""
    if distributed.is_initialized() and distributed.get_world_size() > 1:
        for buffer in network.buffers():
            distributed.broadcast(buffer, 0)


def peak_memory_mb(device: torch.device) -> float:
    """Peak so far: allocated on the GPU where there is one, else resident memory of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def gather_objects(value: Any) -> list[Any]:
    """`value` of every rank, in rank order, on every rank."""
    if not (distributed.is_initialized() and distributed.get_world_size() > 1):
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def rank_table(processes: Processes) -> str:
    """One line per process: where it runs and on what."""
    cuda = processes.device.type == "cuda"
    device = torch.cuda.get_device_name(processes.device) if cuda else f"CPU, {torch.get_num_threads()} threads"
    mine = f"{processes.rank:>4}  {socket.gethostname()}  process {os.getpid()}  {processes.device}  {device}"
    return "\n".join([f"rank  of {processes.world} processes", *gather_objects(mine)])
