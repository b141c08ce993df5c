"""Who may train a run: holders that live, holders that are gone, and holders nobody can ask."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.errors import InputError
from benchmark.training import locks
from benchmark.training.locks import RunLock, this_process


def _held_by(folder: Path, *, age: float = 0, **holder) -> Path:
    path = folder / "run.lock"
    path.write_text(json.dumps({**this_process(), "token": "other", **holder}))
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def _ended_process() -> dict:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = locks.process_start(child.pid)
    child.communicate(b"\n")
    return {"pid": child.pid, "pid_started": started}


def _taken(folder: Path) -> bool:
    try:
        with RunLock(folder, "a/b/c/seed0"):
            return True
    except InputError as error:
        assert "trained by another process" in str(error)
        return False


def test_taken_and_given_back(tmp_path):
    with RunLock(tmp_path / "run", "a/b/c/seed0") as lock:
        assert json.loads(lock.path.read_text())["pid"] == os.getpid()
        lock.check()
        assert not _taken(tmp_path / "run")
    assert not lock.path.exists()
    assert _taken(tmp_path / "run")


def test_given_back_after_an_exception(tmp_path):
    with pytest.raises(RuntimeError, match="inside"), RunLock(tmp_path, "a/b/c/seed0"):
        raise RuntimeError("inside")
    assert list(tmp_path.iterdir()) == []


def test_the_refusal_names_the_holder(tmp_path):
    _held_by(tmp_path, host="gpu-node-7", pid=4242, slurm_job="991")
    with pytest.raises(InputError, match="process 4242 on gpu-node-7, SLURM job 991"), RunLock(tmp_path, "a/b/c/seed0"):
        pass


def test_a_dead_process_on_this_host_is_replaced(tmp_path):
    _held_by(tmp_path, **_ended_process())
    assert _taken(tmp_path)


def test_a_reused_process_id_is_not_the_holder(tmp_path):
    _held_by(tmp_path, pid_started="1")
    assert _taken(tmp_path)


def test_a_living_process_holds_it_however_old_the_heartbeat(tmp_path):
    _held_by(tmp_path, age=10 * locks.STALE_SECONDS)  # this very process: stopped, or its disk hangs
    assert not _taken(tmp_path)


@pytest.mark.parametrize(("age", "expected"), [(0, False), (2 * locks.STALE_SECONDS, True)])
def test_on_another_host_the_heartbeat_decides(tmp_path, age, expected):
    _held_by(tmp_path, host="elsewhere", age=age)
    assert _taken(tmp_path) == expected


@pytest.mark.parametrize(("restart", "expected"), [("0", False), ("1", True)])
def test_a_requeued_job_replaces_its_former_self(tmp_path, monkeypatch, restart, expected):
    _held_by(tmp_path, host="elsewhere", slurm_job="5", slurm_restart=0)
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("SLURM_RESTART_COUNT", restart)
    assert _taken(tmp_path) == expected


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo RUNNING", False),
        ("echo PENDING", False),
        ("echo NODE_FAIL", True),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", True),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", False),
    ],
)
def test_slurm_is_asked_about_the_holder(tmp_path, monkeypatch, script, expected):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "squeue").write_text(f"#!/bin/sh\n{script}\n")
    (programs / "squeue").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    folder = tmp_path / "run"
    folder.mkdir()
    _held_by(folder, host="elsewhere", slurm_job="17")
    assert _taken(folder) == expected


def test_a_lock_still_being_written_holds(tmp_path):
    (tmp_path / "run.lock").touch()
    assert not _taken(tmp_path)


def test_two_that_saw_the_same_stale_lock_do_not_both_get_it(tmp_path):
    judged = {"token": "stale"}
    late = RunLock(tmp_path, "a/b/c/seed0")
    with RunLock(tmp_path, "a/b/c/seed0") as winner:
        late._remove_stale(judged)  # the winner has replaced it since
        winner.check()
        assert not late._create()


def test_being_taken_over_is_noticed_before_writing(tmp_path):
    with RunLock(tmp_path, "a/b/c/seed0") as lock:
        _held_by(tmp_path)
        with pytest.raises(InputError, match="took run"):
            lock.check()
    assert (tmp_path / "run.lock").exists()  # not ours any more


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(InputError, match="cannot write") as raised, RunLock(tmp_path / "run", "a/b/c/seed0"):
        pass
    assert str(tmp_path) in str(raised.value)


def test_the_heartbeat_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "HEARTBEAT_SECONDS", 0.01)
    with RunLock(tmp_path, "a/b/c/seed0") as lock:
        os.utime(lock.path, (0, 0))
        deadline = time.monotonic() + 10
        while lock.path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lock.path.stat().st_mtime > 0
