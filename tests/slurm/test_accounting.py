"""A cluster with an accounting database, as most have: status by sacct, also while the database is away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from helpers.cluster import Cluster, absent, wait_for
from helpers.workspace import BATCH, Workspace

pytestmark = pytest.mark.slurm

RUN = "faults/one/cancelled/seed0"
SMALL = ("--set-threads", "train_run=1", "--set-resources", "train_run:mem_mb=1000")
POLLS = ("--slurm-status-command", "sacct", "--slurm-init-seconds-before-status-checks", "2")


@pytest.fixture(scope="module")
def accounted(workspace, tmp_path_factory) -> Iterator[Workspace]:
    """A clone with the other one's prepared store, on a cluster of its own."""
    reason = absent("slurmdbd", "mariadbd", "mariadb-install-db")
    if reason:
        pytest.fail(reason) if os.environ.get("RETABLE_REQUIRE_SLURM") else pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("accounted"), accounting=True)
    try:
        cluster.start()
        other = Workspace(tmp_path_factory.mktemp("clone") / "retable", cluster)
        shutil.copytree(workspace.folder / "results/data", other.folder / "results/data")
        other.roots, other.store = workspace.roots, workspace.store
        yield other
    finally:
        cluster.stop()


def test_a_cancelled_job_is_seen_by_sacct_and_its_training_continues(accounted):
    """Half-way the database daemon goes away, the job is cancelled, and the daemon comes back: it learns of both."""
    cluster = accounted.cluster
    accounted.plan({RUN: {"hold_at": 30 * BATCH}})
    snakemake = accounted.snakemake(accounted.trained(RUN), *SMALL, *POLLS, log="accounted.log")
    wait_for(lambda: accounted.steps_done(RUN) >= 30, "a training half-way")
    cluster.kill("accounting")
    cluster.run("scancel", accounted.jobs_of(RUN)[-1])
    accounted.let_go(RUN)
    wait_for(lambda: not accounted.jobs_of(RUN, "RUNNING", "COMPLETING"), "the end of the cancelled job")
    cluster.start_accounting()
    assert accounted.follow(snakemake, seconds=240) == 0, accounted.tail("accounted.log")
    states = cluster.run("sacct", "-X", "-n", "-P", "--format=State").split("\n")
    assert any(state.startswith("CANCELLED") for state in states) and "COMPLETED" in states, states
    assert accounted.starts(RUN) == 2 and accounted.steps_repeated(RUN) <= 1
    assert "Traceback" not in accounted.tail("accounted.log")
