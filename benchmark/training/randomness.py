"""Randomness: one stream per process, kept in checkpoints, so that a continued training is the same training."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from benchmark.progress import say


def make_deterministic(*, threads: int) -> None:
    """Two CPU runs with the same thread count are equal bit by bit."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # It costs time and hides nothing we rely on. (A property that torch gives its module while it is running.)
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010


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


def continue_randomness(state: dict[str, Any], *, seed: int, rank: int, world: int) -> None:
    """Restore this process's generators from a checkpoint; with another number of processes, start new streams.

    A line says when the continued training can no longer be equal bit by bit.
    """
    states, threads = state["random"], state["threads"]
    if len(states) == world:
        restore_random_state(states[rank])
    else:
        seed_everything(seed, rank=rank, step=state["step"])
    if (len(states), threads) != (world, torch.get_num_threads()) and rank == 0:
        say(
            f"this checkpoint was written by {len(states)} processes of {threads} threads: the order of samples is "
            "kept, but results agree only to rounding and to the random draws inside the network"
        )
