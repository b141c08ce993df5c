"""The version that results carry: package and commit, and never the commit of another repository."""

from __future__ import annotations

import os
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


def git(folder: Path, *arguments: str) -> str:
    words = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "safe.directory=*"]
    command = ["git", "-C", str(folder), *words, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def clone(folder: Path, content: str = "one\n") -> str:
    """Make a repository of one commit in `folder`; the commit."""
    git(folder, "init")
    (folder / "file").write_text(content)
    git(folder, "add", "file")
    git(folder, "commit", "-m", "first")
    return git(folder, "rev-parse", "--short=12", "HEAD")


def test_a_clone_names_its_commit_and_its_changes(tmp_path: Path, monkeypatch) -> None:
    commit = clone(tmp_path)
    monkeypatch.setattr(version, "REPOSITORY", tmp_path)
    assert version.code_version() == f"{__version__} {commit}"
    (tmp_path / "file").write_text("two\n")
    version.code_version.cache_clear()
    assert version.code_version() == f"{__version__} {commit}+"


def test_without_a_clone_it_is_the_package_alone(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(version, "REPOSITORY", tmp_path)
    assert version.code_version() == __version__


@pytest.mark.parametrize("why", ["no git", "damaged"])
def test_a_clone_whose_commit_cannot_be_told_says_so(tmp_path: Path, monkeypatch, why: str) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(version, "REPOSITORY", tmp_path)
    if why == "no git":
        monkeypatch.setenv("PATH", str(tmp_path))
    assert version.code_version() == f"{__version__} unknown commit"


def test_a_clone_of_somebody_else_names_its_commit_too(tmp_path: Path, monkeypatch) -> None:
    """Git itself refuses to: "detected dubious ownership"."""
    commit = clone(tmp_path)
    if os.getuid() != 0:
        pytest.skip("only root may give files away")
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 12345, 12345)
    assert subprocess.run(["git", "-C", tmp_path, "describe"], capture_output=True).returncode != 0
    monkeypatch.setattr(version, "REPOSITORY", tmp_path)
    assert version.code_version() == f"{__version__} {commit}"


def test_a_git_that_started_this_process_does_not_name_its_own_commit(tmp_path: Path, monkeypatch) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    commit, other = clone(ours), clone(theirs, "two\n")
    monkeypatch.setenv("GIT_DIR", str(theirs / ".git"))  # as in a hook
    monkeypatch.setattr(version, "REPOSITORY", ours)
    assert commit != other and version.code_version() == f"{__version__} {commit}"
