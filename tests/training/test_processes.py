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
from benchmark.training.processes import LAUNCH, PLACES, rank_table, refuse_leftovers, set_up_network, share_buffers


def _process(folder: Path, rank: int) -> None:
    """One of two: starts with batch statistics of its own, and notes what it has after sharing, and the table."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2))
    network[1].running_mean.fill_(rank + 1)
    share_buffers(network)
    table = rank_table(SimpleNamespace(device=torch.device("cpu"), global_rank=rank, world_size=2))
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
def test_batch_statistics_are_synchronised_where_the_protocol_says_so(wanted, world, device, synchronised, capsys):
    forward = SimpleNamespace(register_comm_hook=lambda state, hook: None)
    fabric = SimpleNamespace(world_size=world, device=torch.device(device), is_global_zero=True)
    fabric.setup = lambda network, optimiser: (nn.Sequential(network), optimiser)
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2))
    optimiser = torch.optim.SGD(network.parameters(), lr=1)
    training = tiny_config(training={"synchronise_batch_norm": wanted}).training
    if device == "cpu":  # there DDP sums gradients by a hook, which a bare module lacks
        fabric.setup = lambda network, optimiser: (SimpleNamespace(_forward_module=forward, inner=network), optimiser)
    prepared, _ = set_up_network(fabric, network, optimiser, training)
    inner = prepared.inner if device == "cpu" else prepared[0]
    assert isinstance(inner[1], nn.SyncBatchNorm) == synchronised
    assert ("statistics are per process" in capsys.readouterr().err) == (wanted and device == "cpu")
    kept = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
    assert kept == {id(parameter) for parameter in inner.parameters()}  # the optimiser still moves the network's own


def test_pace_and_data_wait_are_those_of_the_slowest_process(tmp_path, monkeypatch):
    loop = make_loop(tmp_path, tiny_config(), TinySamples(7))
    others = {"loss": 3.0, "waited": 2.0, "seconds": 8.0, "memory": 700.0}
    monkeypatch.setattr(
        loop.fabric, "all_gather", lambda mine: torch.stack([mine, torch.tensor([*others.values(), 1.0]).double()])
    )
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
