"""Kill, stop and continue: the finished run equals an undisturbed one bit by bit."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import time
from multiprocessing import Process
from pathlib import Path

import pytest
import torch
from helpers import tiny
from helpers.tiny import finish, messages, start
from safetensors.torch import load_file

from benchmark.errors import EXIT_CONTINUE

STEPS = 24
SLOW = ("--slow-from", "6", "--pause", "1")  # after the first checkpoint there is time to interfere


def _train(folder: Path, *options: object, processes: int = 1) -> None:
    assert finish(start(folder, *options, processes=processes)) == [0] * processes, messages(folder)[-3000:]


def _kill(started: list[Process]) -> None:
    for process in started:
        process.kill()
    finish(started)


def _wait_for_step(folder: Path, step: int) -> None:
    """Until there is a checkpoint of `step` or later."""
    deadline = time.monotonic() + 120
    while not any(int(path.stem[5:]) >= step for path in (folder / "checkpoints").glob("step-*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _final_state(folder: Path) -> dict:
    return torch.load(folder / "checkpoints" / f"step-{STEPS:08d}.pt", weights_only=True)


def _flatten(value, prefix: str = "") -> dict[str, object]:
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in _flatten(inner, f"{prefix}/{key}").items()}
    if isinstance(value, (list, tuple)):
        return {k: v for i, inner in enumerate(value) for k, v in _flatten(inner, f"{prefix}/{i}").items()}
    return {prefix: value}


def _assert_equal_runs(left: Path, right: Path) -> None:
    ours, theirs = _flatten(_final_state(left)), _flatten(_final_state(right))
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        same = torch.equal(value, theirs[key]) if isinstance(value, torch.Tensor) else value == theirs[key]
        assert same, key
    weights, others = load_file(left / "final.safetensors"), load_file(right / "final.safetensors")
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    validated = [folder / "validation.csv" for folder in (left, right)]
    assert validated[0].exists() == validated[1].exists()
    assert not validated[0].exists() or validated[0].read_text() == validated[1].read_text()
    logs = [_log(folder) for folder in (left, right)]
    assert [row["step"] for row in logs[0]] == [str(step) for step in range(STEPS)]
    for column in ("step", "epoch", "loss", "learning_rate"):
        assert [row[column] for row in logs[0]] == [row[column] for row in logs[1]], column


def _log(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[int, Path]:
    """Finished runs of 1, 2 and 4 processes with dropout, so that random state matters."""
    folders = {processes: tmp_path_factory.mktemp("undisturbed") / str(processes) for processes in (1, 2, 4)}
    for processes, folder in folders.items():
        _train(folder, "--process-seed", 1, processes=processes)
    return folders


@pytest.mark.parametrize(("processes", "kills"), [(1, 4), (2, 3), (4, 1)])
def test_sigkill_at_random_moments_changes_nothing(undisturbed, tmp_path, processes, kills):
    folder, generator = tmp_path / "killed", random.Random(processes)
    for attempt in range(kills):
        started = start(folder, "--pause", 0.01, "--process-seed", 100 + attempt, processes=processes)
        _wait_for_step(folder, 5 * (attempt + 1))
        time.sleep(generator.uniform(0, 0.15))
        _kill(started)
    _train(folder, "--process-seed", 999, processes=processes)
    _assert_equal_runs(folder, undisturbed[processes])


@pytest.mark.parametrize("objective", [name for name in tiny.OBJECTIVES if name != "segmentation"])
@pytest.mark.parametrize("processes", [1, 2])
def test_sigkill_changes_nothing_whatever_is_learnt(tmp_path, objective, processes):
    options = ("--objective", objective)
    _train(tmp_path / "undisturbed", *options, "--process-seed", 1, processes=processes)
    started = start(tmp_path / "killed", *options, "--pause", 0.01, "--process-seed", 100, processes=processes)
    _wait_for_step(tmp_path / "killed", 10)
    _kill(started)
    _train(tmp_path / "killed", *options, "--process-seed", 999, processes=processes)
    _assert_equal_runs(tmp_path / "killed", tmp_path / "undisturbed")
    losses = [float(row["loss"]) for row in _log(tmp_path / "killed")]
    assert min(losses[-6:]) < min(losses[:6])  # something is learnt


def test_sigterm_finishes_the_step_saves_and_says_continue(undisturbed, tmp_path):
    folder = tmp_path / "stopped"
    for workers, asked in enumerate((signal.SIGTERM, signal.SIGUSR2)):
        started = start(folder, "--workers", workers, "--pause", 0.5, "--slow-from", 5 * (workers + 1) + 1)
        _wait_for_step(folder, 5 * (workers + 1))
        os.killpg(started[0].pid, asked)  # as SLURM does: data workers get it too
        assert finish(started) == [EXIT_CONTINUE], messages(folder)
        assert not (folder / "final.safetensors").exists()
        assert not (folder / "run.lock").exists()
        assert len(_log(folder)) > 5 * (workers + 1)
    _train(folder)
    _assert_equal_runs(folder, undisturbed[1])


def test_a_signal_to_one_process_stops_all(undisturbed, tmp_path):
    folder = tmp_path / "stopped"
    started = start(folder, *SLOW, processes=2)
    _wait_for_step(folder, 5)
    os.kill(started[1].pid, signal.SIGTERM)
    assert finish(started) == [EXIT_CONTINUE] * 2
    _train(folder, processes=2)
    _assert_equal_runs(folder, undisturbed[2])


def test_a_second_process_is_refused_while_the_first_trains(tmp_path):
    folder = tmp_path / "contested"
    first = start(folder, *SLOW)
    _wait_for_step(folder, 5)
    assert finish(start(folder)) == [2]
    _kill(first)
    assert f"process {first[0].pid} on" in messages(folder)
    assert "being trained by another process" in messages(folder)


def test_any_number_of_processes_gives_the_same_losses(tmp_path):
    curves = {}
    for processes in (1, 2, 4):
        folder = tmp_path / str(processes)
        uneven = ("--micro-batch", 3) if processes == 1 else ()  # accumulates 3 samples, then 1
        _train(folder, "--dropout", 0, "--epochs", 5, *uneven, processes=processes)
        curves[processes] = [float(row["loss"]) for row in _log(folder)]
    for curve in curves.values():
        assert len(curve) == 10
        assert curve == pytest.approx(curves[1], rel=1e-5)


def test_continuing_on_another_number_of_processes_keeps_the_losses_and_says_so(tmp_path):
    folder, options = tmp_path / "moved", ("--dropout", 0, "--epochs", 5)
    started = start(folder, *options, *SLOW, processes=2)
    _wait_for_step(folder, 5)
    os.kill(started[0].pid, signal.SIGTERM)
    assert finish(started) == [EXIT_CONTINUE] * 2
    _train(folder, *options)
    assert "written by 2 processes" in messages(folder)
    _train(tmp_path / "stayed", *options)
    moved, stayed = ([float(row["loss"]) for row in _log(tmp_path / name)] for name in ("moved", "stayed"))
    assert moved == pytest.approx(stayed, rel=1e-5)


def test_dice_over_the_batch_is_taken_over_all_processes(tmp_path):
    curves = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        _train(folder, "--dropout", 0, "--epochs", 5, "--batch-dice", processes=processes)
        curves[processes] = [float(row["loss"]) for row in _log(folder)]
    assert curves[2] == pytest.approx(curves[1], rel=1e-5)


def test_parameters_that_no_forward_reaches_stop_no_data_parallel_training(tmp_path):
    """UNETR, DiNTS and nnU-Net without deep supervision have some, and say which."""
    curves = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        _train(folder, "--dropout", 0, "--epochs", 5, "--idle", processes=processes)
        curves[processes] = [float(row["loss"]) for row in _log(folder)]
        assert load_file(folder / "final.safetensors")["idle"].tolist() == [1, 1, 1]  # not even weight decay
    assert curves[2] == pytest.approx(curves[1], rel=1e-5)


def test_under_torchrun_one_process_killed_ends_the_others(tmp_path):
    folder = tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "PYTHONPATH": str(tiny.ROOT), "OMP_NUM_THREADS": "1", "RETABLE_PROCESSES": "2"}
    command = [*torchrun, tiny.__file__, str(folder), *SLOW]
    launcher = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    _wait_for_step(folder, 5)
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode != 0
    assert b"Signal 9" in errors
    assert not any(Path(f"/proc/{child}").exists() for child in children)
