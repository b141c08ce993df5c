"""The line of progress, from records as Snakemake 9 sends them."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import pytest

from benchmark.jobs.progress import ProgressLine


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Time as a test sets it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def send(
    handler: ProgressLine, event: str | None = None, words: str = "", level: int = logging.INFO, **fields: Any
) -> None:
    record = logging.LogRecord("snakemake", level, __file__, 1, words, None, None)
    record.__dict__.update(fields, **({"event": event} if event else {}))
    handler.emit(record)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def handler(clock: Clock) -> ProgressLine:
    """Two trainings of 20 s side by side, of three; four tables wait."""
    handler = ProgressLine(io.StringIO(), clock)
    send(handler, "run_info", stats={"train_run": 3, "build_table": 4, "total": 7})
    for job in (1, 2):
        send(handler, "job_info", jobid=job, rule_name="train_run", rule_msg=f"run{job}: training")
    clock.now = 20.0
    for job in (1, 2):
        send(handler, "job_finished", job_id=job)
    return handler


def shown(handler: ProgressLine) -> str:
    assert isinstance(handler.stream, io.StringIO)
    return handler.stream.getvalue()


def test_time_left_counts_each_job_as_its_rule_took(handler: ProgressLine) -> None:
    """One training of 20 s and four tables of which nothing is known, 2 s each, two at a time: (20 + 8) / 2."""
    assert handler.seconds_left() == pytest.approx(14.0)


def test_a_job_that_runs_has_less_left(handler: ProgressLine, clock: Clock) -> None:
    send(handler, "job_info", jobid=3, rule_name="train_run", rule_msg="run3: training")
    clock.now = 30.0
    # 50 s of work in 30 s; 10 s of the training and 8 s of tables remain
    assert handler.seconds_left() == pytest.approx(18.0 / (50.0 / 30.0))


def test_the_line_names_what_runs(handler: ProgressLine) -> None:
    send(handler, "job_info", jobid=3, rule_name="train_run", rule_msg="run3: training")
    send(handler, "progress", done=2, total=7)
    assert shown(handler) == "2 of 7 jobs, 20 s, about 14 s left; now run3: training\n"


def test_lines_that_stay_come_ten_seconds_apart(handler: ProgressLine, clock: Clock) -> None:
    send(handler, "progress", done=2, total=7)
    clock.now += 9.0
    send(handler, "progress", done=3, total=7)
    assert shown(handler).count("\n") == 1
    clock.now += 1.0
    send(handler, "progress", done=4, total=7)
    send(handler, "progress", done=7, total=7)  # the last is always shown
    assert shown(handler).splitlines()[1].startswith("4 of 7") and shown(handler).endswith("7 of 7 jobs, 30 s\n")


def test_a_terminal_has_one_line(clock: Clock) -> None:
    handler = ProgressLine(Terminal(), clock)
    send(handler, "run_info", stats={"build_table": 2})
    send(handler, "progress", done=1, total=2)
    send(handler, "progress", done=2, total=2)
    assert shown(handler).count("\n") == 1 and shown(handler).count("\r\x1b[K") == 2


def test_a_failed_job_shows_the_end_of_its_log(handler: ProgressLine, tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("\n".join(f"line {number}" for number in range(100)), encoding="utf-8")
    send(handler, "job_info", jobid=3, rule_name="train_run", rule_msg="run3: training")
    send(handler, "job_error", level=logging.ERROR, jobid=3, rule_name="train_run", log=[str(log)])
    assert shown(handler).startswith(f"failed: run3: training\n  log: {log}\n")
    assert "line 99" in shown(handler) and "line 10\n" not in shown(handler)


def test_errors_without_a_job_are_shown_and_other_messages_are_not(handler: ProgressLine) -> None:
    send(handler, words="Select jobs to execute...")
    send(handler, words="Directory cannot be locked", level=logging.ERROR)
    assert shown(handler) == "Directory cannot be locked\n"
