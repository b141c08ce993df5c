"""One run, one process group: a lock file in the run's directory that also works on a shared file system.

The file is created exclusively and names its holder. A second process reads it and decides whether the holder can
still be alive: on the same host by process id and start time, under SLURM by the job's state, otherwise by the
heartbeat (the file's modification time, by the file server's clock). When in doubt the lock holds.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import threading
import uuid
from pathlib import Path
from typing import Any

from benchmark.errors import PassingFault
from benchmark.files import make_folder, unwritable_explained

HEARTBEAT_SECONDS = 20.0
STALE_SECONDS = 300.0
ENDED_JOBS = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"}


class RunLock:
    """Context manager that holds `<folder>/run.lock` while the run is trained.

    Raises:
        InputError: on entering, if nothing can be written there.
        PassingFault: on entering, if another process that may be alive holds the lock; from `check`, if the lock was
            taken over (this process was thought dead).
    """

    def __init__(self, folder: str | Path, run: str) -> None:
        self.path = Path(folder) / "run.lock"
        self.run = run
        self.token = uuid.uuid4().hex
        self._ended = threading.Event()

    def __enter__(self) -> RunLock:
        make_folder(self.path.parent)
        while not self._create():
            holder = read_holder(self.path)
            reason = why_stale(self.path, holder)
            if reason is None:
                raise PassingFault(
                    f"run {self.run} is being trained by another process",
                    where=self.path,
                    found=describe(holder),
                    remedy="wait for it; if it is certainly gone, delete the lock file",
                )
            self._remove_stale(holder)
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        if read_holder(self.path).get("token") == self.token:
            self.path.unlink(missing_ok=True)

    def check(self) -> None:
        """Make sure, before writing, that the lock is still ours."""
        holder = read_holder(self.path)
        if holder.get("token") != self.token:
            raise PassingFault(
                f"another process took run {self.run} over", where=self.path, found=describe(holder), remedy="end one"
            )

    def _create(self) -> bool:
        with unwritable_explained(self.path):
            try:
                descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                return False
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump({**this_process(), "run": self.run, "token": self.token}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        return True

    def _remove_stale(self, holder: dict[str, Any]) -> None:
        # Renaming first decides between several processes that all saw the stale lock. If what was moved is not what
        # was judged, another one has already replaced it, and gets its lock back.
        moved = self.path.with_name(f".stale-{self.token}")
        try:
            os.rename(self.path, moved)
        except FileNotFoundError:
            return
        if read_holder(moved).get("token") != holder.get("token"):
            os.rename(moved, self.path)
        moved.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            if read_holder(self.path).get("token") == self.token:
                os.utime(self.path)


def this_process() -> dict[str, Any]:
    """What identifies this process, in this job, on this host."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pid_started": process_start(os.getpid()),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "slurm_restart": slurm_restart(),
    }


def slurm_restart() -> int:
    """How often this process's SLURM job was requeued; 0 outside SLURM. Job steps do not get the variable."""
    job, told = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_RESTART_COUNT")
    if job and told is None:
        answer = _ask_slurm(job, "--Format", "RestartCnt")
        told = answer.stdout.strip() if answer is not None and answer.returncode == 0 else None
    return int(told or 0)


def process_start(pid: int) -> str | None:
    """Start time of a live process in clock ticks since boot, None if it is gone: ids are reused, this pair is not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def read_holder(path: Path) -> dict[str, Any]:
    """Content of a lock; empty if it is absent or still being written."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def describe(holder: dict[str, Any]) -> str:
    job = f", SLURM job {holder['slurm_job']}" if holder.get("slurm_job") else ""
    return f"process {holder.get('pid', '?')} on {holder.get('host', 'an unknown host')}{job}"


def why_stale(path: Path, holder: dict[str, Any]) -> str | None:
    """The reason why the holder cannot be alive, or None if it may be."""
    me = this_process()
    if holder.get("host") == me["host"]:
        dead = process_start(holder["pid"]) != holder["pid_started"]
        return "its process has ended" if dead else None
    job = holder.get("slurm_job")
    if job and job == me["slurm_job"] and holder["slurm_restart"] < me["slurm_restart"]:
        return "its job was requeued"
    if job and job != me["slurm_job"] and _slurm_says_ended(job):
        return "its SLURM job has ended"
    return "its heartbeat stopped" if _age(path) > STALE_SECONDS else None


def _slurm_says_ended(job: str) -> bool:
    answer = _ask_slurm(job, "--format", "%T")
    if answer is None:
        return False
    if answer.returncode:  # squeue forgets ended jobs after a while and then calls the id invalid
        return "Invalid job id" in answer.stderr
    return all(state in ENDED_JOBS for state in answer.stdout.split())


def _ask_slurm(job: str, *columns: str) -> subprocess.CompletedProcess[str] | None:
    """What squeue says of a job; None where there is no SLURM or it does not answer."""
    try:
        return subprocess.run(
            ["squeue", "--noheader", "--states", "all", "--jobs", job, *columns],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None


def _age(path: Path) -> float:
    """Seconds since the last heartbeat by the clock of the file server, not of this host."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".clock-") as now:
        try:
            return os.stat(now.name).st_mtime - path.stat().st_mtime
        except FileNotFoundError:
            return 0.0
