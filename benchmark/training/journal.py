"""What a training tells: CSV always, TensorBoard on request, a bar on a terminal or plain lines in a log file."""

from __future__ import annotations

import csv
import io
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmark.files import write_text
from benchmark.progress import LOG_INTERVAL_SECONDS, say

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

STEP_FIELDS = (
    "step",
    "epoch",
    "loss",
    "learning_rate",
    "samples_per_second",
    "data_wait",
    "peak_memory_mb",
)
VALIDATION_FIELDS = ("step", "epoch", "mean_dice")
SELECTION_FIELDS = ("step", "epoch", "validation_loss", "kept")


class CsvLog:
    """Rows by step, each step once, also after kill and resume.

    Rows are kept in memory until `flush`, which the loop calls before each checkpoint: so every step up to the
    checkpoint is in the file, and `truncate` removes what a killed process had done beyond it.
    """

    def __init__(self, path: str | Path, fields: Sequence[str]) -> None:
        self.path, self.fields = Path(path), tuple(fields)
        self._rows: list[Mapping[str, object]] = []

    def truncate(self, step: int) -> None:
        """Keep whole rows of steps below `step`; start the file if there is none."""
        kept = io.StringIO()
        writer = csv.DictWriter(kept, self.fields, lineterminator="\n")
        writer.writeheader()
        if self.path.exists() and step > 0:
            with self.path.open(newline="", encoding="utf-8") as stream:
                # a row cut short by a kill lacks its last field
                whole = (row for row in csv.DictReader(stream) if None not in row.values())
                writer.writerows(row for row in whole if int(row["step"]) < step)
        write_text(self.path, kept.getvalue())

    def add(self, row: Mapping[str, object]) -> None:
        self._rows.append(row)

    def flush(self) -> None:
        """Append what was added since the last flush and force it to the disk."""
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, self.fields, lineterminator="\n").writerows(self._rows)
            stream.flush()
            os.fsync(stream.fileno())
        self._rows.clear()


class Journal:
    """All reports of the first process.

    Args:
        folder: the run's directory; writes log.csv, validation.csv and, on request, selection.csv and tensorboard/.
        total: steps of the whole training.
        tensorboard: also write event files.
        selects: weights are selected by a validation loss.
    """

    def __init__(self, folder: Path, *, total: int, tensorboard: bool = False, selects: bool = False) -> None:
        self.folder, self.total, self.tensorboard = folder, total, tensorboard
        self.steps = CsvLog(folder / "log.csv", STEP_FIELDS)
        self.validations = CsvLog(folder / "validation.csv", VALIDATION_FIELDS)
        self.selections = CsvLog(folder / "selection.csv", SELECTION_FIELDS) if selects else None
        self._bar: Progress | None = None
        self._events: SummaryWriter | None = None
        self._last_line = time.monotonic()

    def start(self, step: int) -> None:
        self.steps.truncate(step)
        self.validations.truncate(step)
        if self.selections is not None:
            self.selections.truncate(step)
        if self.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step)
        if sys.stderr.isatty():
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("", total=self.total, completed=step)
            self._bar.start()

    def step(self, row: dict[str, float]) -> None:
        self.steps.add(row)
        self._send("training", row)
        line = (
            f"epoch {row['epoch']}  loss {row['loss']:.4f}  rate {row['learning_rate']:.2e}  "
            f"{row['samples_per_second']:.2f} samples/s  waiting {row['data_wait']:.0%}"
        )
        if self._bar is not None:
            self._bar.update(self._task, advance=1, description=line)
        now = time.monotonic()
        if now - self._last_line >= LOG_INTERVAL_SECONDS:
            self._last_line = now
            self.steps.flush()
            if self._bar is None:
                say(f"step {row['step'] + 1}/{self.total}  {line}")

    def validation(self, row: dict[str, float]) -> None:
        self.validations.add(row)
        self._send("validation", row)
        say(f"validation after epoch {row['epoch']}: mean Dice {row['mean_dice']:.4f}")

    def selection(self, row: dict[str, float]) -> None:
        """A look at the validation loss; `kept`: 1 where its weights are the best so far, else 0."""
        assert self.selections is not None
        self.selections.add(row)
        self._send("selection", row)
        say(f"validation loss after epoch {row['epoch']}: {row['validation_loss']:.4f}{', kept' * bool(row['kept'])}")

    def flush(self) -> None:
        self.steps.flush()
        self.validations.flush()
        if self.selections is not None:
            self.selections.flush()

    def close(self) -> None:
        self.flush()
        if self._bar is not None:
            self._bar.stop()
        if self._events is not None:
            self._events.close()

    def _send(self, group: str, row: dict[str, float]) -> None:
        if self._events is not None:
            for name, value in row.items():
                if name != "step":
                    self._events.add_scalar(f"{group}/{name}", value, row["step"])
