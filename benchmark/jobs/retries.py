"""A job that ended because its input is wrong is not tried again, whatever `retries` says.

Snakemake knows only that a job failed. The command leaves a last line in the job's log that says why
(`benchmark.cli`), and Snakemake reads it where it asks how often the job may be tried.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from benchmark.errors import REFUSED

TAIL = 1 << 16  # bytes of a log's end: behind the line there may be a launcher's own words
CLOCKS = 60  # seconds by which the clocks of two nodes may differ


class Jobs(Protocol):
    """Snakemake's class of jobs, as far as it matters here."""

    restart_times: property


def stop_at_wrong_input(job: Jobs) -> None:
    """Replace the property `restart_times` of Snakemake's class of jobs: none after exit 2.

    Lines that stood in a log before now do not count: somebody has repaired the input since.
    """
    usual, since = job.restart_times, time.time() - CLOCKS
    job.restart_times = property(lambda self: 0 if was_refused(self.log, since=since) else usual.__get__(self))


def was_refused(logs: Iterable[str | os.PathLike[str]], *, since: float) -> bool:
    """Whether a job's log says that its input was refused after `since` (seconds of the epoch)."""
    return any(moment >= since for log in logs for moment in _refusals(Path(log)))


def _refusals(log: Path) -> list[float]:
    """When input was refused, by the end of a log; nothing where there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - TAIL))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [_moment(line.removeprefix(REFUSED)) for line in lines if line.startswith(REFUSED)]


def _moment(text: str) -> float:
    """Seconds of the epoch; 0, for long ago, where a line is torn."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).timestamp()
    except ValueError:
        return 0.0
