"""Snakemake's scheduler is woken by one timer at a time.

For its limit of job starts per second the scheduler (9.27.1) starts a timer in every round, and a round begins whenever
one goes off or a job ends. So each job that ends adds a timer that lives to the end, and in each round the scheduler
looks at the input files of all jobs that wait: a fifth of a core after a hundred jobs, more after each.
"""

from __future__ import annotations

import threading
from typing import Any


def wake_once(scheduler: type) -> None:
    """Replace the method with which Snakemake's class JobScheduler starts a timer: none where one is on its way.

    Nobody waits for a timer at the end, as one does for Snakemake's own.
    """

    def start_timer(self: Any, delay: float) -> None:
        if vars(self).get("is_woken"):
            return

        def wake() -> None:
            self.is_woken = False  # before the round begins, which may ask for the next
            self._open_jobs.release()

        self.is_woken = True
        timer = threading.Timer(delay, wake)
        timer.daemon = True
        timer.start()

    scheduler._schedule_reevalutation = start_timer  # type: ignore[attr-defined]  # spelt so there
