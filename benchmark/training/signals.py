"""A request to stop: finish the step, save, leave with EXIT_CONTINUE.

SLURM announces preemption and time limits by SIGTERM, or by the signal of `--signal`; SIGUSR2 is ours. Ctrl-C once
does the same; a second one interrupts at once.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)


class StopRequest:
    """Remembers that the process was asked to stop. Installs its handlers when made; main thread only."""

    def __init__(self) -> None:
        self.received: str | None = None
        for number in STOP_SIGNALS:
            signal.signal(number, self._remember)

    def __bool__(self) -> bool:
        return self.received is not None

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def stop_signals_blocked() -> Iterator[None]:
    """For starting helper processes: they inherit the block for good, so that a signal to the whole process group does
    not kill them before the step is finished; this process gets a signal that came meanwhile right afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
