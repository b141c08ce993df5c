"""Starts the server that training processes are forked from, before any test runs, and keeps signals as they were.

There is one such server per session, and it can only be given its imports when it starts: with them a process is there
in milliseconds, without them each one imports torch anew.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest

from benchmark.training.signals import STOP_SIGNALS

FOLDERS = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]


def _start_server() -> None:
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*FOLDERS, *([before] if before else [])])
    multiprocessing.get_context("forkserver").set_forkserver_preload(["helpers.tiny"])
    forkserver.ensure_running()
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


_start_server()


@pytest.fixture(autouse=True)
def handlers_restored() -> Iterator[None]:
    """A training in the test's own process leaves no handler of signals behind."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
