"""The launcher: signals reach the training, exit codes reach the caller, nodes find each other."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import tiny

from benchmark.training import launch

# Stands in for `python -m benchmark`, so that the launcher's own command line is what runs.
BENCHMARK = "import sys; from helpers import tiny; sys.exit(tiny.main(sys.argv[1:]))"


@pytest.mark.parametrize(
    ("codes", "stopped", "expected"),
    [
        ([75, 75], False, 75),
        ([75, -signal.SIGTERM], True, 75),
        ([75, -signal.SIGTERM], False, 1),
        ([2, 1], False, 2),
        ([-signal.SIGKILL], True, 1),
        ([1, 75], True, 1),
    ],
)
def test_exit_code(codes, stopped, expected):
    assert launch.exit_code(codes, stopped=stopped) == expected


def test_one_node_needs_no_scheduler(monkeypatch):
    monkeypatch.delenv("SLURM_STEP_NUM_NODES", raising=False)
    config = launch.launch_config(4)
    assert (config.min_nodes, config.nproc_per_node, config.max_restarts) == (1, 4, 0)
    assert config.rdzv_endpoint == "localhost:0"


def test_nodes_of_a_slurm_step_meet_on_the_first(monkeypatch, tmp_path):
    program = tmp_path / "scontrol"
    program.write_text("#!/bin/sh\necho n1\necho n2\n")
    program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    step = {"SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NODELIST": "n[1-2]", "SLURM_JOB_ID": "41", "SLURM_STEP_ID": "0"}
    for key, value in step.items():
        monkeypatch.setenv(key, value)
    config = launch.launch_config(2)
    assert config.rdzv_endpoint == "n1:20041"
    assert config.run_id == "41.0.0"
    assert config.max_nodes == 2


def test_a_signal_to_the_launcher_saves_and_gives_75(tmp_path):
    package = tmp_path / "benchmark_stub"
    package.mkdir()
    (package / "__main__.py").write_text(BENCHMARK)
    folder = tmp_path / "run"
    code = (
        "from benchmark.training import launch; import sys;"
        "real = launch.elastic_launch;"
        "launch.elastic_launch = lambda config, program: "
        "lambda dash, module, *words: real(config, program)(dash, 'benchmark_stub', *words);"
        "sys.exit(launch.main(sys.argv[1:]))"
    )
    paths = os.pathsep.join([str(tiny.ROOT), str(Path(tiny.__file__).parents[1]), str(tmp_path)])
    environment = {**os.environ, "PYTHONPATH": paths, "RETABLE_PROCESSES": "2"}
    command = [
        sys.executable,
        "-c",
        code,
        "2",
        "python",
        "-m",
        "benchmark",
        str(folder),
        "--slow-from",
        "6",
        "--pause",
        "1",
    ]
    launcher = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (folder / "checkpoints/step-00000005.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    launcher.send_signal(signal.SIGTERM)
    _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 75, errors[-2000:]
    assert not (folder / "run.lock").exists()
    saved = sorted((folder / "checkpoints").glob("*.json"))
    assert int(saved[-1].stem.removeprefix("step-")) > 5
