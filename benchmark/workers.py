"""Worker processes over cases: bounded, ordered by completion, and honest about the first error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

from benchmark.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

MAXIMUM_TASKS_IN_FLIGHT_PER_PROCESS = 2  # 10⁴ cases must not queue 10⁴ results


def available_processes() -> int:
    """Processes or threads this job may use.

    RETABLE_PROCESSES where a person sets it, else OMP_NUM_THREADS, which Snakemake sets to a rule's `threads` (and
    `benchmark.environment` to a number), or all of them.

    Raises:
        InputError: RETABLE_PROCESSES is no positive number.
    """
    chosen = os.environ.get("RETABLE_PROCESSES")
    if chosen:
        if not (chosen.strip().isdecimal() and int(chosen) > 0):
            raise InputError(
                "no number of processes", where="environment: RETABLE_PROCESSES", expected="1 or more", found=chosen
            )
        return int(chosen)
    threads = os.environ.get("OMP_NUM_THREADS")
    return int(threads) if threads else len(os.sched_getaffinity(0))


def map_processes(
    function: Callable[[Item], Result], items: Sequence[Item], *, processes: int | None = None
) -> Iterator[Result]:
    """Yield `function(item)` for every item as it finishes, from `processes` worker processes.

    One process runs in the caller, which keeps tracebacks and debuggers simple. The first exception of a worker is
    re-raised here with its own traceback, and items not yet started are dropped.

    Args:
        function: picklable (module level or functools.partial of one).
        items: picklable arguments.
        processes: worker processes; default `available_processes()`.
    """
    processes = min(processes or available_processes(), max(len(items), 1))
    if processes == 1:
        yield from map(function, items)
        return
    # spawn: forking a process that already runs OpenMP or torch threads can deadlock
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_one_thread_each) as pool:
        remaining = iter(items)
        pending = {
            pool.submit(function, item) for item in islice(remaining, processes * MAXIMUM_TASKS_IN_FLIGHT_PER_PROCESS)
        }
        try:
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
                    pending |= {pool.submit(function, item) for item in islice(remaining, 1)}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _one_thread_each() -> None:
    for variable in (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "BLOSC_NTHREADS",
        "NUMBA_NUM_THREADS",
    ):
        os.environ[variable] = "1"
