"""Running the workflow as a user does: a clone's root, this Python's snakemake."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

SNAKEMAKE = Path(sys.executable).with_name("snakemake")


def environment(clone: Path) -> dict[str, str]:
    """The clone's own package, two cores whatever else runs, and no sign of a `make` that started the tests."""
    left_out = ("OMP_", "RETABLE_PROCESSES", "MAKE")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
    return {**inherited, "PYTHONPATH": str(clone), "XDG_CACHE_HOME": str(clone / ".cache")}


def snakemake(clone: Path, *arguments: str, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run snakemake in the clone, or in `directory` on the clone's workflow."""
    command = _command(clone, arguments, directory)
    return subprocess.run(command, cwd=clone, env=environment(clone), capture_output=True, text=True)


def _command(clone: Path, arguments: Sequence[str], directory: Path | None) -> list[str]:
    where = ["--snakefile", str(clone / "Snakefile"), "--directory", str(directory)] if directory else []
    return [str(SNAKEMAKE), *where, *arguments]


def snakemake_killed(
    clone: Path, *arguments: str, when: Callable[[], bool], seconds: float, directory: Path | None = None
) -> None:
    """Start snakemake as `snakemake` does and kill it with all its jobs, without warning, once `when()` holds.

    Raises:
        AssertionError: it ended by itself, or `when()` did not hold within `seconds`.
    """
    process = subprocess.Popen(
        _command(clone, arguments, directory),
        cwd=clone,
        env=environment(clone),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    end = time.monotonic() + seconds
    try:
        while not when():
            assert process.poll() is None, f"snakemake ended by itself with {process.returncode}"
            assert time.monotonic() < end, "the moment to kill at did not come"
            time.sleep(0.1)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
