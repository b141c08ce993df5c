"""From one global order of samples to the micro-batches of each process.

Step s of a training uses samples s·batch … (s+1)·batch - 1, whatever the number of processes; each takes a contiguous
share. What sample i is depends on (seed, i) only, so the position of a training is one integer.
"""

from __future__ import annotations

import multiprocessing
import shutil
import traceback
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from benchmark.errors import InputError, PassingFault
from benchmark.settings import Training
from benchmark.training.signals import stop_signals_blocked

SHARED_MEMORY = Path("/dev/shm")


class SampleError(PassingFault):
    """A training sample could not be made; carries the first error of the process that tried.

    A disk that fails once, or a worker that another job's memory killed, may be right at the next try.
    """


@dataclass(frozen=True)
class Share:
    """The part of each global batch that one process computes, cut into equal micro-batches.

    Attributes:
        batch: samples per step over all processes, a multiple of `world`.
        world, rank: number of processes and this one's index.
        micro_batch: samples per forward pass at most; the last one of a step may be smaller.
    """

    batch: int
    world: int = 1
    rank: int = 0
    micro_batch: int | None = None

    @property
    def samples(self) -> int:
        return self.batch // self.world

    def micro_batches(self, step: int) -> list[list[int]]:
        """Sample indices of this process in `step`, one list per forward pass."""
        first = step * self.batch + self.rank * self.samples
        indices = list(range(first, first + self.samples))
        size = self.micro_batch or self.samples
        return [indices[start : start + size] for start in range(0, len(indices), size)]


def make_share(training: Training, *, world: int, rank: int, micro_batch: int | None) -> Share:
    """The share of one process. Unless told, a forward pass holds as many samples as the protocol had per GPU.

    Batch Dice needs all samples of a step at once, so there the default is one forward pass per process.

    Raises:
        InputError: `micro_batch` would split a batch whose Dice is taken over the whole of it.
    """
    samples = training.batch // world
    if micro_batch is None:
        micro_batch = samples if training.loss.batch_dice else -(-training.batch // training.devices)
    if training.loss.batch_dice and micro_batch < samples:
        raise InputError(
            "Dice over the batch cannot be accumulated over several forward passes",
            expected=f"at least {samples} samples per forward pass (--micro-batch)",
            found=micro_batch,
            remedy="use more processes, so that each has fewer samples",
        )
    return Share(training.batch, world, rank, min(micro_batch, samples))


class ShareSampler(Sampler[list[int]]):
    """Micro-batches of one process from step `start` to the end, in order."""

    def __init__(self, share: Share, *, start: int, stop: int) -> None:
        self.share, self.start, self.stop = share, start, stop

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.stop):
            yield from self.share.micro_batches(step)

    def __len__(self) -> int:
        return (self.stop - self.start) * len(self.share.micro_batches(0))


class _Guarded(Dataset):
    """Hands an exception over as a value, so that the first error arrives in order, whole, and with its place."""

    def __init__(self, samples: Dataset) -> None:
        self.samples = samples

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor] | SampleError:
        try:
            return self.samples[index]
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            return SampleError(
                f"training sample {index} cannot be made: {type(error).__name__}: {error}",
                where=f"{frame.filename}:{frame.lineno} in {frame.name}",
                remedy="see the message; `retable verify` and `retable prepare` check the data",
            )


def _collate(samples: list) -> tuple[Tensor, Tensor] | SampleError:
    errors = [sample for sample in samples if isinstance(sample, SampleError)]
    return errors[0] if errors else tuple(default_collate(samples))


def micro_batches(
    samples: Dataset, share: Share, *, start: int, stop: int, workers: int, pin: bool
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Yield (images [b, C, *patch], labels [b, *patch]) of steps start … stop - 1 in order.

    Args:
        samples: map-style; made picklable if `workers` > 0.
        workers: processes that read ahead; 0 reads in this one.
        pin: page-locked memory, for copies to a GPU.

    Raises:
        SampleError: the first sample that could not be made, or a worker that was killed.
    """
    context = None
    if workers:
        # A process with OpenMP, gloo or CUDA threads must not be forked; the fork server is started clean.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch", type(samples).__module__])
    loader = DataLoader(
        _Guarded(samples),
        batch_sampler=ShareSampler(share, start=start, stop=stop),
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin,
        multiprocessing_context=context,
        generator=torch.Generator().manual_seed(0),  # else the loader draws its base seed from the training's stream
    )
    try:
        with stop_signals_blocked():
            batches = iter(loader)
        for batch in batches:
            if isinstance(batch, SampleError):
                raise batch
            yield batch
    except (RuntimeError, ConnectionError, EOFError) as error:
        # a worker may die before, or while, it hands a tensor over
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        raise _killed(error) from error


def _killed(error: Exception) -> SampleError:
    """Why a data worker is gone, from what torch says: it hands tensors over in /dev/shm, small in containers."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if any(word in str(error) for word in ("shared memory", "Bus error")):
        room = shutil.disk_usage(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None
        return SampleError(
            f"a data worker had no room for its samples in shared memory: {lines[-1]}",
            where=SHARED_MEMORY,
            expected="a few GB, for all data workers together",
            found=f"{room.free / 1e6:.1f} of {room.total / 1e6:.1f} MB free" if room else "no such folder",
            remedy="give it more (docker run --shm-size=8g, or --ipc=host), or train with --workers 0 "
            "(--config train_options={workers: 0}); then run again to continue",
        )
    return SampleError(
        f"a data worker was killed: {lines[-1]}",
        remedy="most often memory ran out: use fewer --workers or ask for more memory, then run again to continue",
    )
