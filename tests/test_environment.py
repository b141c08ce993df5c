"""Machines that are not as libraries expect: lists of threads, users without a name or a home, long TMPDIR."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import dedent

import pytest

from benchmark import environment
from benchmark.environment import correct_environment
from benchmark.errors import InputError
from benchmark.workers import available_processes

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """What `correct_environment` changes."""
    for name in ("OMP_NUM_THREADS", "RETABLE_PROCESSES", "USER", "TMPDIR"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.delenv("RETABLE_PROCESSES")


@pytest.mark.parametrize(
    ("said", "threads"),
    [("4,2", 4), (" 3 , 1", 3), ("5", 5), ("many", None), ("0", None), ("-2", None), ("", None), (",4", None)],
)
def test_threads_may_be_a_list_and_what_is_none_is_passed_over(monkeypatch, said, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    correct_environment()
    assert available_processes() == (threads or len(os.sched_getaffinity(0)))
    assert os.environ.get("OMP_NUM_THREADS") == (threads and str(threads))


@pytest.mark.parametrize("said", ["many", "0", "-1", "2.5", "4,2"])
def test_a_wrong_number_of_processes_is_named(monkeypatch, said):
    monkeypatch.setenv("RETABLE_PROCESSES", said)
    with pytest.raises(InputError, match="RETABLE_PROCESSES"):
        available_processes()


def test_a_temporary_folder_stays_where_sockets_fit(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # pytest asks for it when it makes the first tmp_path of a session
    monkeypatch.setattr(environment, "LONGEST_TMPDIR", len(str(tmp_path)))
    correct_environment()
    assert tempfile.gettempdir() == str(tmp_path)
    monkeypatch.setattr(environment, "LONGEST_TMPDIR", len(str(tmp_path)) - 1)
    correct_environment()
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == "/tmp"


def python(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """This Python as a user id that no system knows, with these variables alone."""
    unknown = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]
    if subprocess.run([*unknown, "true"], capture_output=True).returncode:
        pytest.skip("user namespaces are not allowed here")
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    return subprocess.run([*unknown, sys.executable, *words], env=variables, capture_output=True, text=True)


def test_a_user_without_name_or_home_with_a_list_of_threads():
    """As in `docker run --user 54321`: torch asks for the name, numexpr (of blosc2) for a number of threads."""
    done = python("-c", "import getpass, benchmark, numexpr; print(getpass.getuser())", OMP_NUM_THREADS="4,2")
    assert done.stdout == "54321\n", done.stderr
    assert "KeyError" in python("-c", "import getpass; getpass.getuser()").stderr
    assert "invalid literal" in python("-c", "import numexpr", OMP_NUM_THREADS="4,2").stderr


def test_a_wrong_number_of_processes_ends_a_command_with_a_message():
    done = python("-m", "benchmark", "train", "any", RETABLE_PROCESSES="all")
    assert done.returncode == 2 and "RETABLE_PROCESSES" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="malloc's settings are glibc's")
def test_freed_memory_is_kept_for_the_next_tensor():
    """Pages that the system has to give, and to fill with zeros, for ten tensors one after another."""
    code = """
        import resource, torch
        from benchmark.environment import keep_freed_memory

        def pages() -> int:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(10):
                torch.ones(48 << 18)  # 48 MiB
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

        fresh = pages()
        assert keep_freed_memory()
        pages()
        print(fresh, pages())
    """
    done = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=True, cwd=ROOT)
    fresh, kept = map(int, done.stdout.split())
    assert kept * 100 < fresh, (fresh, kept)
