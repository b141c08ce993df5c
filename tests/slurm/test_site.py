"""What a site would refuse, or take and never start, is found before anything is sent."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slurm

RUN = "faults/one/refused/seed0"
SMALL = ("--set-threads", "train_run=1", "--set-resources", "train_run:mem_mb=1000")


def refused(workspace, *words: str) -> str:
    """What Snakemake says of one training that is not sent."""
    log = "refused.log"
    (workspace.folder / log).unlink(missing_ok=True)
    assert workspace.snakemake(workspace.trained(RUN), *words, log=log).wait() != 0
    message = workspace.tail(log)
    assert "Traceback" not in message
    assert "refused" not in str(workspace.cluster.jobs())
    return message


def default(*resources: str) -> list[str]:
    return ["--default-resources", *resources, "mem_mb=1000"]


def test_a_partition_that_is_not_there_is_named_with_those_that_are(workspace):
    message = refused(workspace, *SMALL, *default("slurm_partition=gpuu"))
    assert "SLURM refuses what train_run asks" in message
    assert "one of gpu*" in message
    assert "--partition=gpuu" in message
    assert "invalid partition" in message.lower()


@pytest.mark.parametrize("too_much", ["train_run:mem_mb=17000", "train_run:gpu=3"], ids=["memory", "GPUs"])
def test_what_no_node_has_is_refused_at_once(workspace, too_much):
    message = refused(workspace, "--set-threads", "train_run=1", "--set-resources", "train_run:mem_mb=1000", too_much)
    assert "SLURM refuses what train_run asks" in message and "gpus_per_node" in message
    assert "requested node configuration is not available" in message.lower()


def test_a_job_too_long_for_its_partition_is_not_sent_to_wait_for_ever(workspace):
    message = refused(workspace, *SMALL, *default("slurm_partition=short"))
    assert "train_run asks for more time than a partition allows" in message
    assert "at most 00:10:00 in partition short" in message and "1440 minutes" in message


def test_a_partition_for_another_quality_of_service_is_not_waited_for(workspace):
    message = refused(workspace, *SMALL, *default("slurm_partition=guarded"))
    assert "in partition guarded, a QOS of special" in message


def test_options_of_a_site_reach_a_training_beside_its_own(workspace):
    """In a list of partitions, one that allows enough is enough; the site's option is wrong, so that SLURM names it."""
    wrong = default("slurm_partition='short,gpu'", "slurm_extra='--nodelist=n9 --nice=7'")
    message = refused(workspace, *SMALL, *wrong)
    assert "--partition=short,gpu" in message and "invalid node name" in message.lower()
    assert "--signal=TERM@300" in message and "--nodelist=n9 --nice=7" in message


def test_a_dry_run_asks_no_cluster(workspace):
    environment = dict(workspace.environment)
    workspace.environment["SLURM_CONF"] = "/nonexistent"
    try:
        started = workspace.snakemake(workspace.trained(RUN), "--dry-run", log="dry.log")
        assert started.wait() == 0, workspace.tail("dry.log")
    finally:
        workspace.environment = environment
