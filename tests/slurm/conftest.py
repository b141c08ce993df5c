"""One SLURM and one workspace for all tests here; skipped with a reason where SLURM cannot be started."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from helpers.cluster import Cluster, absent
from helpers.workspace import Workspace


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    reason = absent()
    if reason:
        pytest.fail(reason) if os.environ.get("RETABLE_REQUIRE_SLURM") else pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def workspace(cluster, tmp_path_factory) -> Workspace:
    """With a prepared store, so that trainings can start at once."""
    workspace = Workspace(tmp_path_factory.mktemp("clone") / "retable", cluster)
    workspace.prepare()
    return workspace
