"""Partition and account are checked before anything is sent."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slurm


def test_a_partition_that_is_not_there_is_named_with_those_that_are(workspace):
    target = workspace.trained("faults/one/refused/seed0")
    wrong = ["--default-resources", "slurm_partition=gpuu", "mem_mb=1000"]
    assert workspace.snakemake(target, *wrong, log="refused.log").wait() != 0
    message = workspace.tail("refused.log")
    assert "SLURM refuses this site's partition or account" in message
    assert "one of gpu*" in message
    assert "--partition=gpuu" in message
    assert "invalid partition" in message.lower()
    assert "Traceback" not in message
    assert not workspace.cluster.jobs() or "refused" not in str(workspace.cluster.jobs())


def test_a_dry_run_asks_no_cluster(workspace):
    target = workspace.trained("faults/one/refused/seed0")
    environment = dict(workspace.environment)
    workspace.environment["SLURM_CONF"] = "/nonexistent"
    try:
        assert workspace.snakemake(target, "--dry-run", log="dry.log").wait() == 0, workspace.tail("dry.log")
    finally:
        workspace.environment = environment
