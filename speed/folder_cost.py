"""What evaluating a folder costs: time and memory of a function and of the processes it starts. Needs numpy alone."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Means = dict[str, float]
Method = Callable[[Path, int], Means]  # a folder with reference/ and prediction/, and processes -> mean of each metric


def measure(method: Method, folder: Path, processes: int) -> dict[str, Any]:
    """Seconds and CPU seconds of all processes, less those of a tiny case; the largest peak memory of one process."""
    spent = {}
    for part in ("tiny", "tiny", "cases"):  # the first compiles and fills caches
        start, cpu = time.perf_counter(), cpu_seconds()
        means = method(folder / part, processes)
        spent[part] = np.array([time.perf_counter() - start, cpu_seconds() - cpu])
    seconds, cpu_time = np.maximum(spent["cases"] - spent["tiny"], 1e-3)
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"seconds": seconds, "cpu_seconds": cpu_time, "bytes": peak * 1024, "means": means}


def cpu_seconds() -> float:
    """Of this process and of its children that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
