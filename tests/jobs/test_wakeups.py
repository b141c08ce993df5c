"""Snakemake's own scheduler: rounds of a workflow of quick jobs, counted by it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SNAKEFILE = """\
import atexit
import sys

from benchmark.jobs.wakeups import wake_once

scheduling = sys.modules["snakemake.scheduling.job_scheduler"]
selections = []
usual = scheduling.JobScheduler.job_selector
scheduling.JobScheduler.job_selector = lambda self, jobs: (selections.append(1), usual(self, jobs))[1]
atexit.register(lambda: open("rounds", "w").write(str(len(selections))))
if {patched}:
    wake_once(scheduling.JobScheduler)


rule all:
    input: expand("quick/{{number}}", number=range(12)), "slow", "last"


rule quick:
    output: "quick/{{number}}"
    priority: 2
    shell: "touch {{output}}"


rule slow:
    output: "slow"
    priority: 1
    shell: "sleep 4; touch {{output}}"


rule last:
    output: "last"
    shell: "touch {{output}}"
"""


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, int]:
    """Selections of jobs with our timer and with Snakemake's: quick jobs, a slow one, and one that waits for it."""
    counted = {}
    for patched in (True, False):
        folder = tmp_path_factory.mktemp("rounds")
        (folder / "Snakefile").write_text(SNAKEFILE.format(patched=patched), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "all"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert len(list(folder.glob("quick/*"))) == 12
        counted[patched] = int(Path(folder / "rounds").read_text(encoding="utf-8"))
    return counted


def test_jobs_that_have_ended_wake_nobody(rounds: dict[bool, int]) -> None:
    """One round a second, and one for each job that ends."""
    assert rounds[True] < 24 < 36 < rounds[False]
