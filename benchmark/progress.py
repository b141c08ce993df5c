"""Progress that suits where it is shown: a bar on a terminal, one line per interval in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

LOG_INTERVAL_SECONDS = 10.0


def track(items: Iterable[Item], *, total: int, description: str) -> Iterator[Item]:
    """Yield `items`, showing how many of `total` are done."""
    if sys.stderr.isatty():
        from rich.progress import Progress  # which log files do without

        with Progress(transient=True) as bar:
            yield from bar.track(items, total=total, description=description)
        return
    start = last = time.monotonic()
    done = 0
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LOG_INTERVAL_SECONDS:
            say(f"{description}: {done}/{total} ({now - start:.0f} s)")
            last = now
    say(f"{description}: {done}/{total} done in {time.monotonic() - start:.1f} s")


def say(line: str) -> None:
    """Print one line of log at once, on the error stream so that standard output stays clean for data."""
    print(line, file=sys.stderr, flush=True)
