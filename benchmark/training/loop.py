"""The training loop: one flat pass over optimiser steps, made of hooks that read like prose."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from benchmark.errors import PassingFault
from benchmark.progress import say
from benchmark.settings import RunConfig
from benchmark.training.checkpoints import Checkpoints, disk_full_explained
from benchmark.training.feed import make_share, micro_batches
from benchmark.training.journal import Journal
from benchmark.training.objectives import InRounds, Objective, Segmentation
from benchmark.training.optimisers import frozen_parameters, make_optimiser
from benchmark.training.processes import Processes, peak_memory_mb, rank_table, set_up_network, share_buffers
from benchmark.training.schedules import learning_rate
from benchmark.training.selection import Selector
from benchmark.training.signals import StopRequest
from benchmark.training.state import TrainingState

DIVERGED_LOSS = 1e3  # Dice is at most 1, and a cross-entropy of 1000 nats per voxel no longer comes back


class TrainingDiverged(PassingFault):
    """The loss or the weights are no longer numbers worth continuing from."""


@dataclass(frozen=True)
class Machine:
    """What may differ between two machines that train the same run.

    Attributes:
        workers: data processes per training process.
        micro_batch: samples per forward pass; None: as many as the protocol had per GPU.
        tensorboard: also write event files.
    """

    workers: int = 0
    micro_batch: int | None = None
    tensorboard: bool = False


class TrainingLoop:
    """Trains one run from its last checkpoint to its last step, or until it is asked to stop.

    Args:
        processes: those that train together, started.
        config: the run; `config.training` and `config.seed` decide everything.
        network: freshly built and initialised, equal on every process.
        samples: map-style, sample i a pure function of (seed, i): a tuple of tensors, the image [C, *patch] first.
        steps_per_epoch: optimiser steps per epoch.
        folder: the run's directory; log.csv, validation.csv and checkpoints/ are written here by the first process.
        checkpoints: reads and writes the run's checkpoints.
        objective: from the network and a batch to a loss; None: segmentation.
        validate: called with (network, device=, rank=, world=), returns the mean Dice; None: no validation cases.
        selector: chooses the weights that the network has in the end; None: the last ones.
        stop: set by a signal; None where nobody listens.
        check_lock: called before anything is written.
    """

    def __init__(
        self,
        processes: Processes,
        config: RunConfig,
        network: nn.Module,
        samples: Dataset,
        *,
        steps_per_epoch: int,
        folder: Path,
        checkpoints: Checkpoints,
        objective: Objective | None = None,
        machine: Machine | None = None,
        validate: Callable[..., float] | None = None,
        selector: Selector | None = None,
        stop: StopRequest | None = None,
        check_lock: Callable[[], None] = lambda: None,
    ) -> None:
        self.processes, self.config, self.training = processes, config, config.training
        self.machine = machine or Machine()
        self.samples, self.steps_per_epoch = samples, steps_per_epoch
        self.checkpoints, self.validate, self.stop, self.check_lock = checkpoints, validate, stop, check_lock
        self.selector = selector
        self.total_steps = self.training.epochs * steps_per_epoch
        self.objective = objective or Segmentation(self.training)
        pretrained = bool(config.model.released or config.begins_from)
        self.frozen = frozen_parameters(network, freeze_epochs=self.training.freeze_epochs * pretrained)
        self.optimiser = make_optimiser(network, self.training.optimiser, fused=processes.device.type == "cpu" or None)
        self.network = set_up_network(processes, network, self.training)
        self.state = TrainingState(processes, self.network, self.optimiser, selector, checkpoints, config.seed)
        self.share = make_share(
            self.training, world=processes.world, rank=processes.rank, micro_batch=self.machine.micro_batch
        )
        self.journal = Journal(
            folder, total=self.total_steps, tensorboard=self.machine.tensorboard, selects=selector is not None
        )

    def run(self) -> bool:
        """True when the training is done, False when stopped in order and saved before that.

        Raises:
            TrainingDiverged, SampleError, InputError: with the last good checkpoint untouched.
        """
        start = self.state.restore()
        self._announce(start)
        self.network.train()
        batches = self._batches(start)
        try:
            for step in range(start, self.total_steps):
                if self.selector is not None and self.selector.is_over:
                    break
                self._set_learning_rate(step)
                stopping = self._report(step, self._optimise(step, batches))
                self._validate_if_due(step)
                over = self._select_if_due(step)
                if stopping or over or self._checkpoint_due(step):
                    self._save(step + 1)
                if stopping and not over and step + 1 < self.total_steps:
                    return False
        finally:
            batches.close()
            if self.processes.first:
                with self._disk_full_explained():
                    self.journal.close()
        if self.selector is not None and self.selector.weights:
            self.network.module.load_state_dict(self.selector.weights)
        return True

    # One step

    def _optimise(self, step: int, batches: Iterator[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Forward and backward over this process's share, then one update; returns this process's measurements."""
        began, waited, epoch = time.perf_counter(), [], step // self.steps_per_epoch

        def first(_: int) -> Tensor:
            waiting = time.perf_counter()
            batch = self.processes.to_device(next(batches))
            waited.append(time.perf_counter() - waiting)
            return self.objective(self.network, *batch, epoch=epoch)

        objective = self.objective
        if not isinstance(objective, InRounds):
            losses = [self._learn(step, first)]
        else:
            objective.start()
            losses = [self._learn(step, first)]
            for number in range(objective.further_rounds):
                losses.append(self._learn(step, partial(objective.again, self.network, number=number)))
        seconds = time.perf_counter() - began
        return {
            "loss": float(sum(losses) / len(losses)),
            "waited": sum(waited),
            "seconds": seconds,
            "memory": peak_memory_mb(self.processes.device),
        }

    def _learn(self, step: int, loss_of: Callable[[int], Tensor]) -> Tensor:
        """Forward and backward of each forward pass (from 0) of this process's share, and one update; the loss."""
        sizes, loss = [len(indices) for indices in self.share.micro_batches(step)], torch.zeros(())
        for number, size in enumerate(sizes):
            with self.network.without_sync() if number + 1 < len(sizes) else nullcontext():
                # each sample counts 1 / batch: shares are equal and DDP averages over the processes
                part = loss_of(number) * (size / self.share.samples)
                self.processes.scaler.scale(part).backward()
            loss = loss.to(part.device) + part.detach()
        self._update(step)
        return loss

    def _update(self, step: int) -> None:
        if step // self.steps_per_epoch < self.training.freeze_epochs:
            for parameter in self.frozen:
                parameter.grad = None
        self.processes.update(self.optimiser, clip_norm=self.training.clip_norm)

    def _set_learning_rate(self, step: int) -> None:
        self.rate = learning_rate(
            step,
            self.training.schedule,
            base=self.training.optimiser.learning_rate,
            steps_per_epoch=self.steps_per_epoch,
            epochs=self.training.epochs,
        )
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * group.get("rate_factor", 1.0)

    def _batches(self, start: int) -> Generator[tuple[Tensor, Tensor], None, None]:
        return micro_batches(
            self.samples,
            self.share,
            start=start,
            stop=self.total_steps,
            workers=self.machine.workers,
            pin=self.processes.device.type == "cuda",
        )

    # What is told

    def _announce(self, start: int) -> None:
        table = rank_table(self.processes)
        if not self.processes.first:
            return
        say(table)
        forward = f"{len(self.share.micro_batches(0))} forward passes of up to {len(self.share.micro_batches(0)[0])}"
        say(f"{self.config.run} ({self.config.scale}): step {start} of {self.total_steps}, {forward} per process")
        with self._disk_full_explained():
            self.journal.start(start)

    def _report(self, step: int, mine: dict[str, float]) -> bool:
        """Agree over all processes on loss, pace and stop; log it. True if any process was asked to stop.

        Raises:
            TrainingDiverged: on all processes alike.
        """
        values = torch.tensor(
            [*mine.values(), float(bool(self.stop))], dtype=torch.float64, device=self.processes.device
        )
        losses, waited, seconds, memory, stops = zip(*self.processes.gather(values), strict=True)
        loss, epoch = sum(losses) / len(losses), step // self.steps_per_epoch
        if not math.isfinite(loss) or abs(loss) > DIVERGED_LOSS:
            raise self._diverged(step, f"a loss of {loss}")
        if self.processes.first:
            row = {"step": step, "epoch": epoch, "loss": loss, "learning_rate": self.rate}
            row["samples_per_second"] = round(self.share.batch / max(seconds), 4)
            row["data_wait"] = round(max(wait / total for wait, total in zip(waited, seconds, strict=True)), 4)
            row["peak_memory_mb"] = round(max(memory))
            with self._disk_full_explained():
                self.journal.step(row)
        return any(stops)

    def _validate_if_due(self, step: int) -> None:
        epoch, last = divmod(step + 1, self.steps_per_epoch)
        if self.validate is None or last or epoch % self.training.validation_interval:
            return
        # The bare network: DDP would synchronise buffers in every forward pass, and shares of cases are not equal.
        processes, bare = self.processes, self.network.module
        share_buffers(bare)
        with processes.autocast():
            dice = self.validate(bare, device=processes.device, rank=processes.rank, world=processes.world)
        if self.processes.first:
            self.journal.validation({"step": step, "epoch": epoch - 1, "mean_dice": dice})

    def _select_if_due(self, step: int) -> bool:
        """Whether the training ends here. All processes go by the loss that the first one sees."""
        epoch, last = divmod(step + 1, self.steps_per_epoch)
        if self.selector is None or last or not self.selector.is_due(epoch - 1):
            return False
        bare = self.network.module
        share_buffers(bare)
        with self.processes.autocast():
            loss = self.selector.measure(bare, self.processes.device, epoch=epoch - 1)
        loss = self.processes.broadcast(loss)
        kept = self.selector.take(loss, bare, step=step + 1)
        if self.processes.first:
            self.journal.selection({"step": step, "epoch": epoch - 1, "validation_loss": loss, "kept": int(kept)})
        return self.selector.is_over

    def _diverged(self, step: int, what: str) -> TrainingDiverged:
        steps = self.checkpoints.steps()
        return TrainingDiverged(
            f"training of {self.config.run} diverged at step {step} (epoch {step // self.steps_per_epoch})",
            where=self.journal.folder / "log.csv",
            expected=f"finite weights and a loss below {DIVERGED_LOSS:g}",
            found=f"{what}, at learning rate {self.rate:.3g}, precision {self.training.precision}",
            remedy="try bf16-mixed or 32-true precision, clip_norm, a longer warm-up or a lower learning rate; "
            + (f"checkpoints of steps {steps} are whole" if steps else "there is no checkpoint yet"),
        )

    # What is kept

    def _checkpoint_due(self, step: int) -> bool:
        return (step + 1) % self.training.checkpoint_interval == 0 or step + 1 == self.total_steps

    def _save(self, step: int) -> None:
        place = {"epoch": step // self.steps_per_epoch, "position": step * self.share.batch}
        self.state.save(step, place, check=partial(self._check_before_saving, step))

    def _check_before_saving(self, step: int) -> None:
        """The lock is still ours, the log is on the disk up to here, and the weights are numbers."""
        self.check_lock()
        with self._disk_full_explained():
            self.journal.flush()
        if not all(bool(value.isfinite().all()) for value in self.network.parameters()):
            raise self._diverged(step - 1, "weights that are not finite")

    def _disk_full_explained(self) -> AbstractContextManager[None]:
        return disk_full_explained(self.journal.folder, remedy="free space and run again to continue")
