"""What several processes agree on: the table at the start, batch statistics, and the slowest one's pace."""

from __future__ import annotations

import csv
import multiprocessing
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.tiny import TinySamples, finish, make_loop, tiny_config
from torch import nn

from benchmark.errors import InputError
from benchmark.files import read_json, write_json
from benchmark.training.processes import (
    LAUNCH,
    PLACES,
    Processes,
    TrainedNetwork,
    rank_table,
    refuse_leftovers,
    set_up_network,
    share_buffers,
)


def _process(folder: Path, rank: int) -> None:
    """One of two: starts with batch statistics of its own, and notes what it has after sharing, and the table."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2))
    network[1].running_mean.fill_(rank + 1)
    share_buffers(network)
    table = rank_table(Processes(rank, 2))
    found = {"mean": network[1].running_mean.tolist(), "table": table, "process": os.getpid()}
    write_json(folder / f"{rank}.json", found)
    torch.distributed.destroy_process_group()


def test_two_processes_share_the_first_ones_statistics_and_both_stand_in_the_table(tmp_path):
    context = multiprocessing.get_context("forkserver")  # started by conftest.py
    started = [context.Process(target=_process, args=(tmp_path, rank)) for rank in range(2)]
    for process in started:
        process.start()
    assert finish(started) == [0, 0]
    found = [read_json(tmp_path / f"{rank}.json") for rank in range(2)]
    assert [one["mean"] for one in found] == [[1, 1], [1, 1]]
    assert found[0]["table"] == found[1]["table"]
    title, *lines = found[0]["table"].splitlines()
    assert title == "rank  of 2 processes" and len(lines) == 2
    for rank, line in enumerate(lines):
        assert line.split()[0] == str(rank) and f"process {found[rank]['process']}  cpu" in line


@pytest.mark.parametrize(
    ("left", "refused"),
    [
        ({"WORLD_SIZE": "2"}, True),
        ({"WORLD_SIZE": "two"}, True),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}, True),
        ({"RANK": "1"}, True),  # it would train, and save nothing
        ({"LOCAL_RANK": "3"}, True),
        ({"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}, False),
        ({"WORLD_SIZE": "2", "RANK": "1", "TORCHELASTIC_RUN_ID": "ours"}, False),
        ({}, False),
    ],
)
def test_what_an_earlier_launcher_left_behind_is_refused_and_not_waited_for(monkeypatch, left, refused):
    for name in (*PLACES, LAUNCH):
        monkeypatch.delenv(name, raising=False)
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    if not refused:
        refuse_leftovers()
        return
    with pytest.raises(InputError, match="no launcher started this one") as error:
        refuse_leftovers()
    assert all(f"{name}={value}" in str(error.value) for name, value in left.items() if name in PLACES)


@pytest.mark.parametrize(
    ("wanted", "world", "device", "synchronised"),
    [(True, 2, "cuda", True), (False, 2, "cuda", False), (True, 1, "cuda", False), (True, 2, "cpu", False)],
)
def test_batch_statistics_are_synchronised_where_the_protocol_says_so(
    wanted, world, device, synchronised, capsys, monkeypatch
):
    processes = SimpleNamespace(world=world, device=torch.device(device), first=True)
    monkeypatch.setattr("benchmark.training.processes.TrainedNetwork", lambda network, *_, **__: network)
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2))
    optimiser = torch.optim.SGD(network.parameters(), lr=1)
    training = tiny_config(training={"synchronise_batch_norm": wanted}).training
    inner = set_up_network(processes, network, training)
    assert isinstance(inner[1], nn.SyncBatchNorm) == synchronised
    assert ("statistics are per process" in capsys.readouterr().err) == (wanted and device == "cpu")
    kept = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
    assert kept == {id(parameter) for parameter in inner.parameters()}  # the optimiser still moves the network's own


def test_pace_and_data_wait_are_those_of_the_slowest_process(tmp_path, monkeypatch):
    loop = make_loop(tmp_path, tiny_config(), TinySamples(7))
    others = {"loss": 3.0, "waited": 2.0, "seconds": 8.0, "memory": 700.0}
    others = [*others.values(), 1.0]
    monkeypatch.setattr(Processes, "gather", lambda self, mine: [mine.tolist(), others])
    loop.rate = 0.1
    loop.journal.start(0)
    stopping = loop._report(0, {"loss": 1.0, "waited": 2.0, "seconds": 4.0, "memory": 900.0})
    loop.journal.close()
    assert stopping  # one of them was asked to stop
    with (tmp_path / "log.csv").open(newline="") as stream:
        row = next(csv.DictReader(stream))
    assert float(row["loss"]) == 2.0
    assert float(row["samples_per_second"]) == 4 / 8
    assert float(row["data_wait"]) == 2 / 4
    assert float(row["peak_memory_mb"]) == 900


def test_outputs_are_float32_whatever_the_precision_inside():
    inside = []
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    network[0].register_forward_hook(lambda layer, inputs, output: inside.append(output.dtype))
    wrapped = TrainedNetwork(network, Processes(precision="bf16-mixed"), find_unused_parameters=False)
    assert wrapped(torch.ones(1, 3)).dtype == torch.float32 and inside == [torch.bfloat16]
    assert wrapped.module is network and "0.weight" in wrapped.module.state_dict()


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_a_scaled_loss_moves_the_weights_as_an_unscaled_one(clip_norm):
    """Half precision scales losses by a power of two, which gradients lose again before they are clipped or used."""
    moved = []
    for scaler in (torch.amp.GradScaler("cpu", init_scale=2.0**10), torch.amp.GradScaler(enabled=False)):
        torch.manual_seed(0)
        network, processes = nn.Linear(4, 1), Processes(scaler=scaler)
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
        loss = network(torch.arange(8.0).reshape(2, 4)).square().mean()
        processes.scaler.scale(loss).backward()
        processes.update(optimiser, clip_norm=clip_norm)
        assert network.weight.grad is None
        moved.append(network.weight.detach())
    assert torch.equal(*moved)
