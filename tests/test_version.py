"""The version that results carry, never the commit of another repository; and what a release's tag names."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from benchmark import __version__, version

ROOT = Path(__file__).parents[1]
RELEASED = ("benchmark/__init__.py", "CITATION.cff", "CHANGELOG.md")
VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)


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


def test_a_tag_does_not_stand_for_the_commit(tmp_path: Path, monkeypatch) -> None:
    commit = clone(tmp_path)
    git(tmp_path, "tag", "--annotate", "--message", "first", "v0.0.1")
    monkeypatch.setattr(version, "REPOSITORY", tmp_path)
    assert version.code_version() == f"{__version__} {commit}"


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


def wrong_tags(repository: Path) -> dict[str, str]:
    """Tag of a release → what is wrong: it is no annotated one, or its commit has another version or no date."""
    found = {}
    for tag in git(repository, "tag", "--list", "v*").split():
        files = {name: git(repository, "show", f"{tag}:{name}") for name in RELEASED}
        citation = yaml.safe_load(files["CITATION.cff"])
        dated = f"## {citation['version']} ({citation.get('date-released')})"
        if git(repository, "cat-file", "-t", tag) != "tag":
            found[tag] = "not annotated"
        elif not tag == f"v{citation['version']}" == "v" + VERSION.search(files["benchmark/__init__.py"])[1]:
            found[tag] = "another version"
        elif dated not in files["CHANGELOG.md"].splitlines():
            found[tag] = "not dated alike"
    return found


def release(repository: Path, *, package: str, cited: str, changes: str, tag: str, annotated: bool = True) -> None:
    """A commit of the files that name a version, and its tag."""
    contents = [
        f'__version__ = "{package}"\n',
        f"version: {cited}\ndate-released: 2026-12-01\n",
        f"# Changes\n{changes}\n",
    ]
    for name, content in zip(RELEASED, contents, strict=True):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text(content)
    git(repository, "add", ".")
    git(repository, "commit", "--message", tag)
    git(repository, "tag", *(["--annotate", "--message", tag] if annotated else []), tag)


def test_a_tag_is_of_the_version_that_it_names(tmp_path: Path) -> None:
    clone(tmp_path)
    dated = "## {} (2026-12-01)"
    release(tmp_path, package="1.0", cited="1.0", changes=dated.format("1.0"), tag="v1.0")
    assert wrong_tags(tmp_path) == {}
    release(tmp_path, package="1.0", cited="1.1", changes=dated.format("1.1"), tag="v1.1")
    release(tmp_path, package="1.2", cited="1.2", changes="## 1.2 (unreleased)", tag="v1.2")
    release(tmp_path, package="1.3", cited="1.3", changes=dated.format("1.3"), tag="v1.3", annotated=False)
    assert wrong_tags(tmp_path) == {"v1.1": "another version", "v1.2": "not dated alike", "v1.3": "not annotated"}


def test_every_release_of_this_clone_is_tagged_rightly() -> None:
    assert wrong_tags(ROOT) == {}


def test_the_files_that_name_a_version_agree() -> None:
    """Dated in both places or in neither, which is how a release begins."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest = re.search(r"^## (\S+) \((\S+)\)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest[1] == citation["version"] == __version__
    assert newest[2] == str(citation.get("date-released", "unreleased"))
    assert importlib.metadata.version("retable") == __version__
