"""One process that has imported everything, of which the jobs of a demo are forks.

At demo scale a job works for seconds and imports for three. So Snakemake starts this server once, and `python -m
benchmark` hands it what it was asked, its files and its environment, waits, passes signals on, and ends as the job
ended. The server ends with the Snakemake that started it, and its jobs with it. At other scales a job is a process of
its own.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, NamedTuple

ADDRESS = "RETABLE_FORK_SERVER"  # environment: path of the socket
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
LATE_IMPORTS = ("torch._dynamo", "benchmark.models.registry", "monai")  # of the work itself, after the command's own
LENGTH = 8  # bytes before a request that say how long it is
SECONDS_TO_ASK = 10  # a client that sends half a request must not stop the others for longer


class Request(NamedTuple):
    """What one job is asked: the words of its command, its directory, its environment."""

    arguments: list[str]
    directory: str
    environment: dict[str, str]


# The side of a job: no import that costs time.


def delegate(arguments: list[str]) -> int | None:
    """Let the server do it; its exit code, or None where there is no server.

    Ends by the signal that ended the job. Exit code 1 if the server died meanwhile.
    """
    address = os.environ.get(ADDRESS)
    if not address:
        return None
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        for number in PASSED_ON:
            signal.signal(number, lambda received, _: connection.sendall(bytes([received])))
        request = json.dumps(Request(arguments, os.getcwd(), dict(os.environ))).encode()
        socket.send_fds(connection, [len(request).to_bytes(LENGTH, "big")], [0, 1, 2])
        connection.sendall(request)
        answer = connection.recv(4)
    if not answer:
        print("error: the process that runs this demo's jobs died; its last words are Snakemake's", file=sys.stderr)
        return 1
    code = os.waitstatus_to_exitcode(int.from_bytes(answer, "big"))
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


# The side of Snakemake.


def start(log: str) -> IO[bytes]:
    """Start a server for all jobs that are started from here on; it lives as long as somebody holds what is returned.

    Args:
        log: file of what each job took: seconds, seconds of CPU, peak memory.
    """
    folder = tempfile.mkdtemp(prefix="retable-")  # of this user alone
    os.environ[ADDRESS] = str(Path(folder, "jobs"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with socket.socket(socket.AF_UNIX) as asked:  # here, so that the first job finds it while the server still imports
        asked.bind(os.environ[ADDRESS])
        asked.listen(128)
        words = [sys.executable, "-m", "benchmark.fork_server", log, str(asked.fileno())]
        server = subprocess.Popen(
            words, stdin=subprocess.PIPE, env=environment, start_new_session=True, pass_fds=[asked.fileno()]
        )
    assert server.stdin is not None
    return server.stdin


# The server.


class Job(NamedTuple):
    """A fork, the descriptor that tells its end, the connection of the process that waits for it, and what its line in
    the log needs."""

    process: int
    ended: int
    connection: socket.socket
    words: str
    begun: float


class Server:
    """Takes requests at a socket, one fork for each, until its standard input ends."""

    def __init__(self, asked: socket.socket, log: Path) -> None:
        self.log = log
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if not self.log.exists():
            self.log.write_text("seconds\tcpu_seconds\tpeak_mb\texit_code\tjob\n", encoding="utf-8")
        self.socket = asked
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.socket, selectors.EVENT_READ)
        self.selector.register(sys.stdin, selectors.EVENT_READ)
        self.jobs: dict[int, Job] = {}  # by each of their descriptors

    def serve(self) -> Request | None:
        """In a fork: what it has to do. In the server: None, after the end of standard input."""
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.socket:
                    request = self._accept()
                    if request:
                        return request
                elif key.fileobj is sys.stdin:
                    self._stop()
                    return None
                elif self.selector.get_map().get(key.fd) is key:  # else its job ended a moment ago
                    self._attend(self.jobs[key.fd], key.fd)

    def _accept(self) -> Request | None:
        connection, _ = self.socket.accept()
        connection.settimeout(SECONDS_TO_ASK)
        try:
            length, files, _, _ = socket.recv_fds(connection, LENGTH, 3)
            asked = b""
            while len(asked) < int.from_bytes(length, "big"):
                asked += _received(connection)
        except (OSError, EOFError):  # it was killed while it asked
            connection.close()
            return None
        request = Request(*json.loads(asked))
        process = os.fork()
        if process == 0:
            return self._begin(request, files)
        os.setpgid(process, process)  # here too, so that it is so before a signal comes
        for file in files:
            os.close(file)
        job = Job(process, os.pidfd_open(process), connection, " ".join(request.arguments[:2]), time.monotonic())
        for descriptor in (job.ended, connection.fileno()):
            self.selector.register(descriptor, selectors.EVENT_READ)
            self.jobs[descriptor] = job
        return None

    def _begin(self, request: Request, files: list[int]) -> Request:
        """Make a fork look like a process that was started by itself."""
        os.setpgid(0, 0)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        self.selector.close()
        self.socket.close()
        for job in set(self.jobs.values()):
            os.close(job.ended)
            job.connection.close()
        os.chdir(request.directory)
        os.environ.clear()
        os.environ.update({name: value for name, value in request.environment.items() if name != ADDRESS})
        sys.argv[1:] = request.arguments
        tempfile.tempdir = None
        return request

    def _attend(self, job: Job, descriptor: int) -> None:
        if descriptor == job.ended:
            _, status, used = os.wait4(job.process, 0)
            self._note(job, os.waitstatus_to_exitcode(status), used)
            with contextlib.suppress(BrokenPipeError):  # who asked was killed
                job.connection.sendall(status.to_bytes(4, "big"))
            self._forget(job)
            return
        signals = job.connection.recv(16)
        for number in signals or [signal.SIGKILL]:
            os.killpg(job.process, number)
        if not signals:
            os.waitpid(job.process, 0)
            self._forget(job)

    def _note(self, job: Job, code: int, used: resource.struct_rusage) -> None:
        """What a job took: Snakemake's benchmark sees only the process that waits for it."""
        seconds, cpu = time.monotonic() - job.begun, used.ru_utime + used.ru_stime
        line = f"{seconds:.1f}\t{cpu:.1f}\t{used.ru_maxrss / 1000:.0f}\t{code}\t{job.words}\n"
        with self.log.open("a", encoding="utf-8") as stream:
            stream.write(line)

    def _forget(self, job: Job) -> None:
        for descriptor in (job.ended, job.connection.fileno()):
            self.selector.unregister(descriptor)
            del self.jobs[descriptor]
        os.close(job.ended)
        job.connection.close()

    def _stop(self) -> None:
        for job in set(self.jobs.values()):
            os.killpg(job.process, signal.SIGKILL)


def _received(connection: socket.socket) -> bytes:
    part = connection.recv(1 << 16)
    if not part:
        raise EOFError
    return part


class QuickEnd:
    """The end of a job without taking apart, module by module, what its process shares with the server: half a second.

    Made before other modules register what they do at exit, so that its turn comes after theirs. What ends otherwise
    (an exception, Ctrl-C) ends as any Python.

    Attributes:
        code: the exit code, once the job has one.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        atexit.register(self._leave)

    def _leave(self) -> None:
        if self.code is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.code)


def main() -> int:
    """Serve; in a fork, run its command."""
    end = QuickEnd()
    address = os.environ[ADDRESS]
    server = Server(socket.socket(fileno=int(sys.argv[2])), Path(sys.argv[1]))
    from benchmark import cli

    cli.build_parser(cli.COMMANDS, forgive=True)
    for module in LATE_IMPORTS:
        importlib.import_module(module)
    gc.freeze()  # forks share what they do not touch
    request = server.serve()
    if request is None:
        shutil.rmtree(Path(address).parent)
        return 0
    import torch

    from benchmark.environment import keep_freed_memory
    from benchmark.workers import available_processes

    torch.set_num_threads(available_processes())  # settled for the server when it imported torch
    keep_freed_memory()
    end.code = cli.main(request.arguments)
    return end.code


if __name__ == "__main__":
    sys.exit(main())
