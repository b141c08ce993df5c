"""Where tests find data that is never committed: small real samples, released-network fixtures, reference facts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).resolve().parent
SHARED = FOLDER.parents[1] / "shared"
SECONDS = FOLDER / "seconds.yaml"
IN_PROCESSES = "PYTEST_XDIST_WORKER_COUNT"

if IN_PROCESSES in os.environ:  # before anything imports torch: threads that share a core wait for each other, spinning
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // int(os.environ[IN_PROCESSES]))))


def _finder(variable: str, folder: str) -> Callable[[str], Path]:
    def find(relative: str) -> Path:
        root = os.environ.get(variable)
        path = (Path(root) if root else SHARED / folder) / relative
        if not path.exists():
            absent = f"{path} is absent; set {variable}"
            pytest.fail(absent) if os.environ.get("RETABLE_REQUIRE_DATA") else pytest.skip(absent)
        return path

    return find


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """`real_data("ACDC")`: a folder of RETABLE_DATA; skips where it is absent."""
    return _finder("RETABLE_DATA", "data")


@pytest.fixture(scope="session")
def reference() -> Callable[[str], Path]:
    """`reference("models/unetr.json")`: a file of RETABLE_REFERENCE; skips where it is absent."""
    return _finder("RETABLE_REFERENCE", "reference")


@pytest.fixture(scope="session")
def papers() -> Callable[[str], Path]:
    """`papers("swin_smt.txt")`: the text of a paper, from RETABLE_PAPERS; skips where it is absent."""
    return _finder("RETABLE_PAPERS", "papers")


@pytest.fixture(scope="session")
def parity() -> Callable[[str], dict[str, Any]]:
    """`parity("swin_smt")`: a released network's seeded weights, input and output; skips where it is absent."""
    find = _finder("RETABLE_PARITY", "parity")

    def load(name: str) -> dict[str, Any]:
        import torch

        return torch.load(find(f"{name}.pt"), weights_only=True)

    return load


@pytest.fixture(scope="session")
def parity_around() -> Callable[[str], dict[str, Any]]:
    """`parity_around("loss_m4oe")`: what released code around the networks gives for seeded input; skips if absent."""
    find = _finder("RETABLE_PARITY_AROUND", "parity_around")

    def load(name: str) -> dict[str, Any]:
        import torch

        return torch.load(find(f"{name}.pt"), weights_only=True)

    return load


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what shares an expensive fixture in one process: a file, the machine's only SLURM, what a mark says.

    Those that take longest begin, so that all processes end together (with `--no-loadscope-reorder`).
    """
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            file = item.path.relative_to(FOLDER).with_suffix("").as_posix()
            item.add_marker(pytest.mark.xdist_group("slurm" if file.startswith("slurm/") else file))
    if IN_PROCESSES in os.environ:
        seconds = yaml.safe_load(SECONDS.read_text(encoding="utf-8"))
        items.sort(key=lambda item: -seconds.get(item.get_closest_marker("xdist_group").args[0], 0))


def pytest_collection_finish(session: pytest.Session) -> None:
    """pytest-xdist 3.8 groups nothing under pytest 9.2, says nothing, and every process builds its own demo."""
    if getattr(session.config.option, "loadgroup", False):
        alone = [
            item.nodeid for item in session.items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid
        ]
        if alone:
            raise pytest.UsageError(
                f"pytest-xdist does not see the groups of {len(alone)} tests; install envs/dev.lock"
            )
