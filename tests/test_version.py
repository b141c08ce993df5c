"""The version that results carry: package and commit, and never the commit of another repository."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark import __version__, version


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    version.code_version.cache_clear()
    yield
    version.code_version.cache_clear()


def test_a_clone_names_its_commit_and_its_changes(tmp_path: Path, monkeypatch) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
        return subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True,
                              text=True).stdout.strip()  # fmt: skip

    git("init")
    (tmp_path / "file").write_text("one\n")
    git("add", "file")
    git("commit", "-m", "first")
    monkeypatch.setattr(version, "REPOSITORY", tmp_path)
    commit = git("rev-parse", "--short=12", "HEAD")
    assert version.code_version() == f"{__version__} {commit}"
    (tmp_path / "file").write_text("two\n")
    version.code_version.cache_clear()
    assert version.code_version() == f"{__version__} {commit}+"


def test_without_a_clone_it_is_the_package_alone(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(version, "REPOSITORY", tmp_path)
    assert version.code_version() == __version__


def test_without_git_it_is_the_package_alone(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(version, "REPOSITORY", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert version.code_version() == __version__
