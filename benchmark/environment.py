"""What libraries take for granted as soon as they are imported, and a machine may say otherwise; and its memory.

`correct_environment` is called by the package itself, before anything else is imported.
"""

from __future__ import annotations

import ctypes
import getpass
import os
import tempfile

# Processes meet at sockets in TMPDIR. Their paths have at most 107 bytes (man 7 unix), of which multiprocessing needs
# "/pymp-xxxxxxxx/listener-xxxxxxxx".
LONGEST_TMPDIR = 70


def correct_environment() -> None:
    """Make the environment one that all our libraries can read; jobs and worker processes inherit it.

    OMP_NUM_THREADS may be a list, "4,2", for nested levels of threads, of which we use the first; numexpr takes it for
    a number. OpenMP passes over what is neither. A user id may have no name (containers, some clusters); torch asks
    for one. A TMPDIR that is too long for sockets gives way to /tmp.
    """
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads is not None:
        first = threads.split(",")[0].strip()
        if first.isdecimal() and int(first) > 0:
            os.environ["OMP_NUM_THREADS"] = str(int(first))
        else:
            del os.environ["OMP_NUM_THREADS"]
    if not has_name():
        os.environ["USER"] = str(os.getuid())
    if len(os.fsencode(tempfile.gettempdir())) > LONGEST_TMPDIR and os.access("/tmp", os.W_OK | os.X_OK):
        os.environ["TMPDIR"] = tempfile.tempdir = "/tmp"


def has_name() -> bool:
    """Whether there is a name of the user, by the environment or the system."""
    try:
        return bool(getpass.getuser())
    except (KeyError, OSError):
        return False


def keep_freed_memory() -> bool:
    """Keep up to 2 GiB of what tensors on a CPU give back, for the next of them; false where this is not glibc.

    glibc asks the system for each large tensor anew, which writes zeros to every page of it: a quarter of the time of
    a training step with large activations.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    trim_threshold, mmap_threshold = -1, -3  # of malloc.h
    return all(
        [
            mallopt(trim_threshold, (1 << 31) - 1),
            mallopt(mmap_threshold, 1 << 30) or mallopt(mmap_threshold, 1 << 25),  # the most that older ones take
        ]
    )
