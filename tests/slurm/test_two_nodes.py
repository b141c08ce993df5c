"""The lock of a run between two nodes that share nothing but the file system and SLURM."""

from __future__ import annotations

import subprocess
import sys

import pytest
from helpers.cluster import wait_for

from benchmark.training.locks import STALE_SECONDS

pytestmark = pytest.mark.slurm

TAKE = (
    "import sys, time; from benchmark.training.locks import RunLock\n"
    "with RunLock(sys.argv[1], 'a/b/c/seed0'): print('taken', flush=True); time.sleep(float(sys.argv[2]))"
)


def test_a_second_node_is_refused_until_slurm_says_that_the_first_has_ended(cluster, workspace):
    folder = workspace.folder / "locked"

    def take(node: str, *, seconds: float) -> subprocess.Popen:
        words = ["srun", "--nodelist", node, "--ntasks=1", "--mem=100", sys.executable, "-c", TAKE, folder, seconds]
        return subprocess.Popen(
            list(map(str, words)), cwd=workspace.folder, env=cluster.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    holder = take("n1", seconds=300)
    wait_for((folder / "run.lock").exists, "the first node's lock")
    refused, errors = take("n2", seconds=0).communicate(timeout=STALE_SECONDS / 2)
    assert refused == ""
    assert "is being trained by another process" in errors
    assert "on n1, SLURM job" in errors
    job = next(job for job, facts in cluster.jobs().items() if facts["state"] == "RUNNING")
    cluster.run("scancel", "--signal=KILL", job)  # no chance to give the lock back
    holder.communicate(timeout=STALE_SECONDS / 2)
    assert (folder / "run.lock").exists()
    wait_for(lambda: cluster.jobs()[job]["state"] not in ("RUNNING", "COMPLETING"), "the end of the first job")
    # soon, and not only when the heartbeat has been silent for long
    taken, errors = take("n2", seconds=0).communicate(timeout=STALE_SECONDS / 2)
    assert taken == "taken\n", errors
