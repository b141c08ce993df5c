"""What a training keeps and takes over: equal bit by bit, alike on all processes, and nothing where a check fails."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.errors import InputError
from benchmark.settings import Selection
from benchmark.training import state as state_module
from benchmark.training.checkpoints import Checkpoints
from benchmark.training.processes import Processes, TrainedNetwork
from benchmark.training.selection import Selector
from benchmark.training.state import TrainingState

PLACE = {"epoch": 1, "position": 8}


def training_state(folder: Path, processes: Processes, *, selects: bool = False) -> TrainingState:
    """Of a network that has made one step of Adam, so that its optimiser has something to keep."""
    torch.manual_seed(0)
    network = TrainedNetwork(nn.Linear(3, 2), processes, find_unused_parameters=False)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.1)
    network(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    objective = lambda network, *batch, epoch: torch.zeros(())  # noqa: E731
    selector = Selector(Selection(), [], count=1, batch=1, objective=objective) if selects else None
    checkpoints = Checkpoints(folder / "checkpoints", identity={"seed": 5}, details={})
    return TrainingState(processes, network, optimiser, selector, checkpoints, seed=5)


def draws() -> list[float]:
    return [random.random(), float(np.random.random()), float(torch.rand(()))]


def scaled() -> Processes:
    return Processes(scaler=torch.amp.GradScaler("cpu", init_scale=2.0**7))


def test_what_was_kept_is_taken_over_bit_by_bit(tmp_path):
    kept = training_state(tmp_path, scaled(), selects=True)
    kept.processes.scaler.scale(torch.ones(()))  # a scaler has no scale before its first loss
    kept.selector.take(0.25, kept.network.module, step=4)
    kept.save(4, PLACE, check=lambda: None)
    expected = draws()

    taken = training_state(tmp_path, scaled(), selects=True)
    with torch.no_grad():
        taken.network.module.weight.zero_()
    assert taken.restore() == 4
    assert draws() == expected
    for name, value in kept.network.module.state_dict().items():
        assert torch.equal(taken.network.module.state_dict()[name], value)
        assert torch.equal(taken.selector.weights[name], kept.selector.weights[name])
    for before, after in zip(kept.optimiser.state.values(), taken.optimiser.state.values(), strict=True):
        assert all(torch.equal(before[name], after[name]) for name in ("step", "exp_avg", "exp_avg_sq"))
    assert taken.processes.scaler.state_dict()["scale"] == 2.0**7
    assert (taken.selector.lowest, taken.selector.step, taken.selector.looks) == (0.25, 4, 1)


def test_a_checkpoint_names_its_place(tmp_path):
    state = training_state(tmp_path, Processes())
    state.save(4, PLACE, check=lambda: None)
    found = state.checkpoints.load()
    assert {name: found[name] for name in ("step", "epoch", "position")} == {"step": 4, **PLACE}
    assert "selection" not in found


def test_without_a_checkpoint_every_rank_begins_with_its_own_stream(tmp_path):
    streams = []
    for rank in (0, 1, 0):
        assert training_state(tmp_path, Processes(rank=rank)).restore() == 0
        streams.append(draws())
    assert streams[0] == streams[2]
    assert all(one != other for one, other in zip(streams[0], streams[1], strict=True))


def test_processes_that_read_different_checkpoints_say_so(tmp_path, monkeypatch):
    state = training_state(tmp_path, Processes())
    monkeypatch.setattr(state_module, "gather_objects", lambda step: [step, 400])
    with pytest.raises(InputError, match=r"different checkpoints[\s\S]*steps \[0, 400\][\s\S]*the same folder"):
        state.restore()


def test_what_fails_its_check_is_not_written_and_every_process_learns_it(tmp_path, monkeypatch):
    told = []

    def broadcast(self: Processes, value: object) -> object:
        told.append(value) if self.first else None
        return told[0]

    def refuse() -> None:
        raise InputError("another process has the lock")

    monkeypatch.setattr(Processes, "broadcast", broadcast)
    for rank in (0, 1):
        state = training_state(tmp_path, Processes(rank=rank, world=1))
        with pytest.raises(InputError, match="another process has the lock"):
            state.save(4, PLACE, check=refuse)
    assert state.checkpoints.steps() == []
