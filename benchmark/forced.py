"""Marks on results that a user asked for to be made anew (`-R`, `-F`): nothing of what is there may be taken over.

A job on a cluster is started by another process, which does not know what was asked for; the mark tells it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmark.files import write_text

MARK = ".anew"


def mark_forced(jobs: Iterable[Any], is_forced: Callable[[str, str], bool]) -> None:
    """Leave a mark beside the first output of each job that a user asked for, before any of them starts.

    Jobs on a cluster are started by other processes, which do not know what was asked for.
    """
    for job in jobs:
        if job.output and any(is_forced(job.rule.name, str(path)) for path in job.output):
            first = Path(str(job.output[0]))
            write_text(first.with_name(f"{MARK}-{first.name}"), "")


def take_forced(out: Path) -> bool:
    """Whether `out` was asked for to be made anew; the mark is taken away."""
    mark = out.with_name(f"{MARK}-{out.name}")
    found = mark.is_file()
    mark.unlink(missing_ok=True)
    return found
