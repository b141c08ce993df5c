"""Jobs of a demo are forks of one process: what goes in, what comes out, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmark import fork_server
from benchmark.errors import IN_WORKFLOW

LONG = ("cost", "table1_totalseg", "--out")  # seconds of work


class Served(NamedTuple):
    """A server, its log, and the environment in which it is found."""

    process: int
    log: Path
    environment: dict[str, str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("server") / "logs/jobs.tsv"
    # A shell starts what it puts into the background so that it ignores Ctrl-C, and so does all that is started by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(fork_server.ADDRESS, "")  # so that it is gone afterwards
        patch.delenv(IN_WORKFLOW, raising=False)  # a job of a workflow says when it refused
        before = set(children(os.getpid()))
        held = fork_server.start(str(log))
        (process,) = set(children(os.getpid())) - before
        yield Served(process, log, dict(os.environ))
        held.close()
        os.waitpid(process, 0)


def children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii")
    return [int(child) for child in text.split()]


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "benchmark", *words]


def ask(served: Served, *words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), env=served.environment, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def long_job(served: Served, tmp_path: Path) -> Iterator[subprocess.Popen]:
    """A client whose job has begun."""
    wait_for(lambda: not children(served.process))
    client = subprocess.Popen(command(*LONG, str(tmp_path / "cost.csv")), env=served.environment)
    wait_for(lambda: bool(children(served.process)))
    yield client
    client.kill()
    client.wait()


@pytest.mark.parametrize("words", [("list", "targets"), ("explain", "table1_totalsg"), ("table",)])
def test_words_and_exit_code_are_those_of_a_process_of_its_own(served: Served, words: tuple[str, ...]) -> None:
    alone = {name: value for name, value in served.environment.items() if name != fork_server.ADDRESS}
    expected = subprocess.run(command(*words), env=alone, capture_output=True, text=True)
    done = ask(served, *words)
    assert (done.returncode, done.stdout) == (expected.returncode, expected.stdout)
    assert done.stderr.replace("fork_server.py", "__main__.py") == expected.stderr


def test_a_job_ends_after_what_is_done_at_exit_and_takes_nothing_apart(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(
        "import atexit, sys\n"
        "from benchmark.fork_server import QuickEnd\n"
        "class Part:\n"
        "    def __del__(self): print('taken apart')\n"
        "end, part = QuickEnd(), Part()\n"
        "atexit.register(print, 'at exit')\n"
        "end.code = int(sys.argv[1]) if len(sys.argv) > 1 else None\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    for words, code, said in (("3",), 3, "at exit\n"), (("0",), 0, "at exit\n"), ((), 0, "at exit\ntaken apart\n"):
        done = subprocess.run([sys.executable, script, *words], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (code, said, "")


def test_a_job_works_in_the_folder_of_who_asks(served: Served, tmp_path: Path) -> None:
    assert ask(served, "new", "paper", "mine", folder=tmp_path).returncode == 0
    assert (tmp_path / "mine/paper.yaml").is_file()


def test_its_own_record_says_what_each_took(served: Served) -> None:
    assert ask(served, "list", "papers").returncode == 0
    header, *lines = served.log.read_text(encoding="utf-8").splitlines()
    names = header.split("\t")
    assert names == ["seconds", "cpu_seconds", "peak_mb", "exit_code", "job"]
    last = dict(zip(names, lines[-1].split("\t"), strict=True))
    assert last["job"] == "list papers" and last["exit_code"] == "0" and float(last["peak_mb"]) > 50


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_reaches_the_job(served: Served, long_job: subprocess.Popen, number: signal.Signals) -> None:
    wait_for(lambda: bool(children(served.process)))
    time.sleep(0.5)  # past its first lines
    long_job.send_signal(number)
    assert long_job.wait(30) in (-number, 128 + number, 1)
    wait_for(lambda: not children(served.process))


def test_a_client_that_is_killed_takes_its_job_along(served: Served, long_job: subprocess.Popen) -> None:
    long_job.kill()
    wait_for(lambda: not children(served.process), 10)
    assert ask(served, "list", "papers").returncode == 0  # the others go on


def test_without_a_server_a_job_is_a_process_of_its_own(tmp_path: Path) -> None:
    environment = {**os.environ, fork_server.ADDRESS: str(tmp_path / "nobody")}
    done = subprocess.run(command("list", "papers"), env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "swin_smt" in done.stdout


def test_with_its_snakemake_the_server_and_its_jobs_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fork_server.ADDRESS, "")
    before = set(children(os.getpid()))
    held = fork_server.start(str(tmp_path / "jobs.tsv"))
    folder = Path(os.environ[fork_server.ADDRESS]).parent
    (server,) = set(children(os.getpid())) - before
    client = subprocess.Popen(command(*LONG, str(tmp_path / "cost.csv")), stderr=subprocess.PIPE, text=True)
    wait_for(lambda: bool(children(server)))
    held.close()
    assert os.waitpid(server, 0)[1] == 0 and not folder.exists()
    assert client.wait(30) == 1 and "died" in client.communicate()[1]
