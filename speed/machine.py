"""What the measurements were made on."""

from __future__ import annotations

import ctypes
import multiprocessing
import platform
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any


def processor() -> str:
    """The CPU's model name, where Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def device_name(device: str) -> str:
    """The GPU's name for `cuda`, else the processor's."""
    if not device.startswith("cuda"):
        return processor()
    import torch

    return torch.cuda.get_device_name(device)


def process_bytes(field: str) -> int:
    """Bytes that the system states for this process: `VmRSS` is resident now, `VmHWM` at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field))) * 1024


def forget_peak() -> None:
    """`VmHWM` begins anew from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def in_fork(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call it in a copy of this process, whose peak memory is then its own; nothing is imported again.

    To be called before this process has computed anything: threads of libraries do not survive a fork.
    """
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent) as pool:
        return pool.submit(function, *arguments).result()


def end_with_parent() -> None:
    """Linux ends this process when its parent is killed, as a script is that takes too long."""
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
