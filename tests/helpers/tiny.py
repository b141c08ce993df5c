"""A training small enough to be killed many times: `python tests/helpers/tiny.py FOLDER [options]`.

`start` runs it in new processes that need no import (forked from a clean server that has torch loaded), which makes
many kills affordable; they find each other as under torchrun.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import socket
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from benchmark.data.masks import cell_mask
from benchmark.errors import EXIT_CONTINUE, EXIT_INPUT, InputError
from benchmark.lineage import training_settings
from benchmark.settings import MaskedImages, RunConfig
from benchmark.training.checkpoints import Checkpoints, write_weights
from benchmark.training.locks import RunLock
from benchmark.training.loop import Machine, TrainingLoop
from benchmark.training.objectives import make_objective
from benchmark.training.processes import start_processes
from benchmark.training.randomness import seed_everything
from benchmark.training.signals import StopRequest

ROOT = Path(__file__).parents[2]
CASES, CLASSES, PATCH = 6, 3, (6, 6, 6)
STORES = (CLASSES, CLASSES - 1)  # classes of the two stores of the joint objective
MASKED = MaskedImages(masking="cells", ratio=0.5, cell=3, token=3, error="l1")
OBJECTIVES = {"segmentation": {}, "joint": {}, "masked_images": {"objective": "masked_images", "masked_images": MASKED}}


def tiny_config(*, training: dict | None = None, seed: int = 7, **overrides) -> RunConfig:
    settings = {
        "patch": PATCH,
        "batch": 4,
        "epochs": 12,
        "optimiser": {"name": "adamw", "learning_rate": 1e-2, "weight_decay": 1e-3},
        "schedule": {"name": "warmup_cosine", "warmup_epochs": 3},
        "clip_norm": 1.0,
        "checkpoint_interval": 5,
        "validation_interval": 2,
        **(training or {}),
    }
    run = {
        "run": "tiny/phantom/conv/seed7",
        "scale": "demo",
        "dataset": "phantom",
        "model": {"name": "conv"},
        "preparation": {},
        "training": settings,
        "inference": {},
        "convention": "canonical",
        "seed": seed,
    }
    return RunConfig(**{**run, **overrides})


class TinyNetwork(nn.Sequential):
    """Two convolutions and, on request, dropout, which makes the global random stream matter, or an idle parameter."""

    def __init__(self, *, dropout: float = 0.0, idle: bool = False) -> None:
        super().__init__(nn.Conv3d(1, 8, 3, padding=1), nn.GELU(), nn.Dropout(dropout), nn.Conv3d(8, CLASSES, 1))
        if idle:  # no forward reaches it
            self.idle, self.unused_parameters = nn.Parameter(torch.ones(3)), ("idle",)

    def pretrained_parameters(self):
        return self[0].parameters()


class TinyJointNetwork(TinyNetwork):
    """Heads that differ in what they add to the logits."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.heads = nn.Parameter(torch.zeros(len(STORES), CLASSES))

    def forward(self, images: torch.Tensor, stores: list[int]) -> torch.Tensor:
        return super().forward(images) + self.heads[stores][:, :, None, None, None]


class TinyMaskedNetwork(TinyNetwork):
    """Images [B, 1, H, W], with one learned value where the mask hides them."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.token = nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden = mask.repeat_interleave(MASKED.token, dim=1).repeat_interleave(MASKED.token, dim=2)[:, None] > 0
        return super().forward(torch.where(hidden, self.token, images)[:, :, None]).mean(dim=1)


NETWORKS = {"segmentation": TinyNetwork, "joint": TinyJointNetwork, "masked_images": TinyMaskedNetwork}


class TinySamples(Dataset):
    """Blobs that are a pure function of (seed, index), as an objective takes them; faults can be put in."""

    def __init__(
        self,
        seed: int,
        *,
        fails_at: int | None = None,
        dies_at: int | None = None,
        nan_at: int | None = None,
        pause: float = 0,
        slow_from: int = 0,
        objective: str = "segmentation",
    ) -> None:
        self.objective = objective
        self.seed, self.fails_at, self.dies_at, self.nan_at = seed, fails_at, dies_at, nan_at
        self.pause, self.slow_from = pause, slow_from

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        if index >= self.slow_from:
            time.sleep(self.pause)
        if index == self.fails_at:
            raise OSError("the disk shows its teeth")
        if index == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out
        generator = np.random.default_rng((self.seed, index))
        labels = generator.integers(CLASSES, size=PATCH, dtype=np.uint8)
        image = labels[None].astype(np.float32) + 0.3 * generator.standard_normal((1, *PATCH), dtype=np.float32)
        if index == self.nan_at:
            image[:] = np.nan
        if self.objective == "masked_images":
            mask = cell_mask(PATCH[0], MASKED, generator).astype(np.float32)
            return torch.from_numpy(image[:, 0]), torch.from_numpy(mask)
        if self.objective == "joint":
            store = index % len(STORES)
            return torch.from_numpy(image), torch.from_numpy(labels % STORES[store]), torch.tensor(store)
        return torch.from_numpy(image), torch.from_numpy(labels)


def tiny_validation(network: nn.Module, *, device, rank: int, world: int) -> float:
    network.eval()
    images, labels = TinySamples(0)[10**6]
    with torch.no_grad():
        agreement = (network(images[None])[0].argmax(dim=0) == labels).float().mean()
    network.train()
    return float(agreement)


def make_loop(
    folder: Path,
    config: RunConfig,
    samples: Dataset,
    *,
    dropout: float = 0.2,
    idle: bool = False,
    objective: str = "segmentation",
    **options,
) -> TrainingLoop:
    """The loop over `samples` in this process (group), as `train` would assemble it."""
    processes = start_processes(config.training)
    seed_everything(config.seed)
    return TrainingLoop(
        processes,
        config,
        NETWORKS[objective](dropout=dropout, idle=idle),
        samples,
        steps_per_epoch=config.training.steps_per_epoch(CASES),
        folder=folder,
        checkpoints=Checkpoints(folder / "checkpoints", identity=training_settings(config), details={"run": "tiny"}),
        objective=make_objective(config.training, STORES if objective == "joint" else (CLASSES,)),
        validate=tiny_validation if objective == "segmentation" else None,
        **options,
    )


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--process-seed", type=int, default=0)
    parser.add_argument("--pause", type=float, default=0)
    parser.add_argument("--slow-from", type=int, default=0, help="step from which each sample takes --pause seconds")
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--micro-batch", type=int)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-dice", action="store_true")
    parser.add_argument("--objective", choices=OBJECTIVES, default="segmentation")
    parser.add_argument("--idle", action="store_true", help="with a parameter that no forward reaches")
    arguments = parser.parse_args(words)
    # what the process happens to hold must not matter
    random.seed(arguments.process_seed)
    np.random.seed(arguments.process_seed)
    torch.manual_seed(arguments.process_seed)
    stop = StopRequest()
    training = {"epochs": arguments.epochs, "loss": {"batch_dice": arguments.batch_dice}}
    config = tiny_config(training={**training, **OBJECTIVES[arguments.objective]})
    try:
        finished = _run(arguments, config, stop)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_INPUT
    return 0 if finished else EXIT_CONTINUE


def _run(arguments: argparse.Namespace, config: RunConfig, stop: StopRequest) -> bool:
    first = int(os.environ.get("RANK", 0)) == 0
    lock = RunLock(arguments.folder, config.run)
    with lock if first else nullcontext():
        loop = make_loop(
            arguments.folder,
            config,
            TinySamples(
                config.seed,
                pause=arguments.pause,
                slow_from=arguments.slow_from * config.training.batch,
                objective=arguments.objective,
            ),
            objective=arguments.objective,
            dropout=arguments.dropout,
            idle=arguments.idle,
            machine=Machine(arguments.workers, arguments.micro_batch),
            stop=stop,
            check_lock=lock.check if first else lambda: None,
        )
        finished = loop.run()
        if finished and first:
            write_weights(arguments.folder / "final.safetensors", loop.network.module)
    return finished


def start(folder: Path, *options: object, processes: int = 1) -> list[multiprocessing.Process]:
    """Start the training; one process group per process, messages in `<folder>.<rank>.txt`."""
    context = multiprocessing.get_context("forkserver")  # started by conftest.py
    words = [str(folder), *map(str, options)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [context.Process(target=_child, args=(words, rank, processes, port)) for rank in range(processes)]
    for process in started:
        process.start()
    return started


def finish(started: list[multiprocessing.Process], *, seconds: float = 100) -> list[int | None]:
    """Exit codes; None for a process that did not end."""
    deadline = time.monotonic() + seconds
    for process in started:
        process.join(max(deadline - time.monotonic(), 0))
    return [process.exitcode for process in started]


def messages(folder: Path, rank: int = 0) -> str:
    return Path(f"{folder}.{rank}.txt").read_text()


def _child(words: list[str], rank: int, processes: int, port: int) -> None:
    os.setsid()
    with Path(f"{words[0]}.{rank}.txt").open("w") as stream:
        os.dup2(stream.fileno(), 2)
    os.environ["RETABLE_PROCESSES"] = "1"
    if processes > 1:
        group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        group |= {"GROUP_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "tiny"}
        os.environ.update({key: str(value) for key, value in group.items()})
    sys.exit(main(words))


if __name__ == "__main__":
    sys.exit(main())
