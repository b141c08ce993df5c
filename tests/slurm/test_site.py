"""Partition, account and time limits are checked before anything is sent."""

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
    assert "refused" not in str(workspace.cluster.jobs())


def test_a_job_too_long_for_its_partition_is_not_sent_to_wait_for_ever(workspace):
    target = workspace.trained("faults/one/refused/seed0")
    short = ["--default-resources", "slurm_partition=short", "mem_mb=1000"]
    assert workspace.snakemake(target, *short, log="short.log").wait() != 0
    message = workspace.tail("short.log")
    assert "train_run asks for more time than a partition allows" in message
    assert "at most 10:00 in partition short" in message and "1440 minutes" in message
    assert "refused" not in str(workspace.cluster.jobs())


def test_a_dry_run_asks_no_cluster(workspace):
    target = workspace.trained("faults/one/refused/seed0")
    environment = dict(workspace.environment)
    workspace.environment["SLURM_CONF"] = "/nonexistent"
    try:
        assert workspace.snakemake(target, "--dry-run", log="dry.log").wait() == 0, workspace.tail("dry.log")
    finally:
        workspace.environment = environment
