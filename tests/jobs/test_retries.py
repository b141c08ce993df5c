"""Wrong input is tried once, everything else as often as `retries` says: by Snakemake itself, and by hand-made logs."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmark import cli
from benchmark.errors import IN_WORKFLOW, REFUSED
from benchmark.jobs.retries import TAIL, was_refused
from benchmark.training.checkpoints import disk_full_explained
from benchmark.training.locks import RunLock
from benchmark.training.loop import TrainingDiverged

SNAKEFILE = """\
import sys

from benchmark.jobs.retries import stop_at_wrong_input
from benchmark.jobs.wiring import set_job_environment

set_job_environment()
stop_at_wrong_input(sys.modules["snakemake.jobs"].Job)


rule wrong:
    output: "never"
    log: "wrong.log"
    retries: 3
    shell: "echo >> wrong.tries; python -m benchmark table table9_unknown >> {log} 2>&1"


rule unlucky:
    output: "once"
    log: "unlucky.log"
    retries: 3
    shell: "echo >> unlucky.tries; test $(wc -l < unlucky.tries) -ge 3 && touch {output}"
"""


def tries(folder: Path, name: str) -> int:
    return len((folder / f"{name}.tries").read_text().splitlines())


def snakemake(folder: Path, target: str) -> int:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "all", "--", target]
    return subprocess.run(command, cwd=folder, capture_output=True).returncode


def test_snakemake_does_not_try_wrong_input_again(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    assert snakemake(tmp_path, "never") != 0 and tries(tmp_path, "wrong") == 1
    assert "unknown target" in (tmp_path / "wrong.log").read_text()
    assert snakemake(tmp_path, "once") == 0 and tries(tmp_path, "unlucky") == 3


def line(seconds: float) -> str:
    return f"{REFUSED}{datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()}\n"


LOGS = {
    "now": (lambda: line(0), True),
    "now, with a launcher's words": (
        lambda: f"error\n{line(0)}srun: Exited with exit code 2\n",
        True,
    ),
    "of an earlier start": (lambda: line(-3600), False),  # the input may be right by now
    "of an earlier start, then a step": (lambda: line(-3600) + "step 1\n", False),
    "torn": (lambda: REFUSED + "20", False),
    "long ago": (lambda: line(0) + "x" * TAIL, False),
    "a traceback": (lambda: "Traceback (most recent call last):\n", False),
    "nothing": (lambda: "", False),
}


@pytest.mark.parametrize("kind", LOGS)
def test_only_a_fresh_last_word_counts(tmp_path, kind):
    log, (text, refused) = tmp_path / "job.log", LOGS[kind]
    log.write_text(text())
    assert was_refused([str(log)], since=time.time() - 60) is refused
    assert not was_refused([tmp_path / "none.log"], since=0)


def test_a_user_at_a_terminal_is_not_told_of_tries(monkeypatch, capsys):
    monkeypatch.delenv(IN_WORKFLOW, raising=False)
    assert cli.main(["table", "table9_unknown"]) == 2
    assert REFUSED not in capsys.readouterr().err
    monkeypatch.setenv(IN_WORKFLOW, "1")
    assert cli.main(["table", "table9_unknown"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(REFUSED)


@pytest.mark.parametrize("fault", [RunLock, disk_full_explained, TrainingDiverged])
def test_what_may_pass_is_tried_again(fault, monkeypatch, tmp_path, capsys):
    """A full disk, a run that another job still trains, and numbers that a GPU may give otherwise the next time."""

    def happen(_):
        if fault is TrainingDiverged:
            raise TrainingDiverged("the loss is not a number")
        if fault is RunLock:
            with RunLock(tmp_path, "r"), RunLock(tmp_path, "r"):
                raise AssertionError("two processes train one run")
        with disk_full_explained(tmp_path, remedy="free space"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("benchmark.evidence.table.main", happen)
    monkeypatch.setenv(IN_WORKFLOW, "1")
    assert cli.main(["table", "table1_totalseg"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and REFUSED not in told
