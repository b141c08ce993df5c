"""One line that a person can read while Snakemake works: jobs done of all, time left, what is running.

In place of Snakemake's own messages where the configuration says `progress: true`, as `make demo` does; errors are
shown too. Snakemake's file in .snakemake/log has everything as always.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TextIO

SECONDS_BETWEEN_LINES = 10.0  # where lines stay; a terminal's one line is written over at every change
SECONDS_AT_FIRST = {"train_run": 15.0}  # of a job, until one of its rule has ended
SECONDS_OTHERWISE = 2.0
SHOWN_JOBS = 3
LINES_OF_A_LOG = 15


class Running(NamedTuple):
    rule: str
    message: str
    begun: float


class ProgressLine(logging.Handler):
    """A handler of Snakemake's log records (its LogEvent names) that writes to `stream`.

    Time left: what remains, each job as long as those of its rule took on average, by as many at a time as until now.
    """

    def __init__(self, stream: TextIO = sys.stderr, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.stream, self.clock = stream, clock
        self.rewrites = stream.isatty()
        self.begun = clock()
        self.shown = float("-inf")
        self.left: Counter[str] = Counter()
        self.running: dict[int, Running] = {}
        self.seconds: dict[str, list[float]] = {}  # of the jobs that have ended, by rule

    def emit(self, record: logging.LogRecord) -> None:
        """Raises nothing: logging shows what goes wrong here (`logging.Handler.handleError`)."""
        try:
            self._take(str(getattr(record, "event", "") or ""), record)
        except Exception:
            self.handleError(record)

    def _take(self, event: str, record: Any) -> None:
        if event == "run_info":
            self.left = Counter({rule: count for rule, count in record.stats.items() if rule != "total"})
        elif event == "job_info":
            message = record.rule_msg or record.rule_name
            self.running[record.jobid] = Running(record.rule_name, message, self.clock())
        elif event == "job_finished":
            self._end(record.job_id)
        elif event == "progress":
            self._show(record.done, record.total)
        elif event == "job_error":
            job = self._end(record.jobid)
            self._write(_described(job.message if job else record.rule_name, record.log or []))
        elif record.levelno >= logging.ERROR or record.getMessage().startswith("Nothing to be done"):
            self._write(record.getMessage())

    def _end(self, job: int) -> Running | None:
        ended = self.running.pop(job, None)
        if ended:
            self.left[ended.rule] -= 1
            self.seconds.setdefault(ended.rule, []).append(self.clock() - ended.begun)
        return ended

    def _show(self, done: int, total: int) -> None:
        if not self.rewrites and self.clock() - self.shown < SECONDS_BETWEEN_LINES and done < total:
            return
        self.shown = self.clock()
        words = f"{done} of {total} jobs, {_told(self.clock() - self.begun)}"
        if done < total:
            names = [job.message for job in self.running.values()]
            more = f" and {len(names) - SHOWN_JOBS} more" if len(names) > SHOWN_JOBS else ""
            words += (
                f", about {_told(self.seconds_left())} left; now {'; '.join(names[:SHOWN_JOBS]) or 'choosing'}{more}"
            )
        self._write(words, stays=done == total)

    def seconds_left(self) -> float:
        """Until the last job ends, by what the others took."""
        past = sum(sum(seconds) for seconds in self.seconds.values())
        past += sum(self.clock() - job.begun for job in self.running.values())
        at_a_time = max(1.0, past / max(self.clock() - self.begun, 1e-9))
        remaining = sum(count * self._expected(rule) for rule, count in self.left.items())
        remaining -= sum(min(self.clock() - job.begun, self._expected(job.rule)) for job in self.running.values())
        return remaining / at_a_time

    def _expected(self, rule: str) -> float:
        known = self.seconds.get(rule)
        return sum(known) / len(known) if known else SECONDS_AT_FIRST.get(rule, SECONDS_OTHERWISE)

    def _write(self, words: str, *, stays: bool = True) -> None:
        before, after = ("\r\x1b[K", "\n" if stays else "") if self.rewrites else ("", "\n")
        self.stream.write(f"{before}{words}{after}")
        self.stream.flush()


def _told(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.0f} min"


def _described(job: str, logs: Iterable[str]) -> str:
    """A job that failed, and the end of its log."""
    lines = [f"failed: {job}"]
    for path in logs:
        lines.append(f"  log: {path}")
        if Path(path).is_file():
            text = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
            lines.extend(f"    {line}" for line in text[-LINES_OF_A_LOG:])
    return "\n".join(lines)


def show_progress(logger: logging.Logger) -> None:
    """Put a `ProgressLine` where Snakemake's logger writes to the screen."""
    for handler in [handler for handler in logger.handlers if handler.name == "DefaultStreamHandler"]:
        logger.removeHandler(handler)
    logger.addHandler(ProgressLine())
