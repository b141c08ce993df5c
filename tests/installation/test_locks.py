"""The locks: every file by hash, one version of a package in all of them, and what is installed is what they say."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from itertools import chain

import pytest
from helpers.dry_run import REPOSITORY

ENTRY = re.compile(r"^([a-z0-9-]+)==([^ ;\\]+)(.*?)(?=^[a-z]|\Z)", re.MULTILINE | re.DOTALL)
NAMES = ("base", "train", "dev", "cuda")
# Absent on purpose: timm brings torchvision, and batchgenerators asks for a test runner of Python 2.
ABSENT = {"dynamic-network-architectures": "timm", "batchgenerators": "unittest2"}


def entries(name: str) -> dict[str, tuple[str, str]]:
    """Package → version, and the rest of its entry."""
    text = re.sub(r"^#.*\n", "", (REPOSITORY / "envs" / f"{name}.lock").read_text(), flags=re.MULTILINE)
    return {package: (version, rest) for package, version, rest in ENTRY.findall(text)}


LOCKS = {name: entries(name) for name in NAMES}


def normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", NAMES)
def test_every_package_has_its_hashes(name: str) -> None:
    assert LOCKS[name]
    assert not [package for package, (_, rest) in LOCKS[name].items() if "--hash=sha256:" not in rest]


def test_a_package_has_one_version() -> None:
    versions: dict[str, set[str]] = {}
    for lock in LOCKS.values():
        for package, (version, _) in lock.items():
            versions.setdefault(package, set()).add(version)
    assert not {package: found for package, found in versions.items() if len(found) > 1}


def test_run_and_development_are_apart() -> None:
    assert set(LOCKS["base"]) < set(LOCKS["train"])
    assert not set(LOCKS["train"]) & (set(LOCKS["dev"]) | set(LOCKS["cuda"]))
    assert set(LOCKS["dev"]) & set(LOCKS["cuda"]) == {"triton"}
    assert {"pytest", "hypothesis", "mypy", "ruff", "triton"} <= set(LOCKS["dev"])


@pytest.mark.parametrize("name", ["torchvision", "timm", "lightning", "edt", "unittest2"])
def test_what_nothing_needs_is_in_no_lock(name: str) -> None:
    assert not [lock for lock, packages in LOCKS.items() if name in packages]


def test_the_lists_of_pyproject_are_locked() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    listed = {
        "base": project["project"]["dependencies"],
        "train": chain(*project["project"]["optional-dependencies"].values()),
        "dev": project["dependency-groups"]["dev"],
    }
    everywhere = set().union(*LOCKS.values())
    for name, requirements in listed.items():
        wanted = {normal(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements}
        assert wanted <= (set(LOCKS["base"]) if name == "base" else everywhere), f"run make lock ({name})"


def test_what_is_installed_is_what_is_locked() -> None:
    locked = {package: version for name in ("train", "dev") for package, (version, _) in LOCKS[name].items()}
    found = {normal(distribution.name): distribution.version for distribution in distributions()}
    assert {package: found.get(package) for package in locked if found.get(package) != locked[package]} == {}
    assert found["torch"].split("+")[0] == LOCKS["cuda"]["torch"][0]


def test_pip_check_finds_the_two_absences_and_nothing_else() -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    said = re.findall(r"^(\S+) \S+ requires (\S+), which is not installed\.$", done.stdout, re.MULTILINE)
    assert {normal(package): needed for package, needed in said} == ABSENT
    assert len(done.stdout.splitlines()) == len(said)


def megabytes(lock: str) -> int:
    return int(re.search(r", (\d+) MB to download", (REPOSITORY / "envs" / f"{lock}.lock").read_text())[1])


@pytest.mark.parametrize("path", ["README.md", "envs/README.md", "docs/slurm.md"])
def test_documents_say_how_to_install_alike(path: str) -> None:
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    assert "TORCH=cuda" in text
    assert not re.search("pip install (torch|.*train.lock)", text)
    if path == "envs/README.md":
        sizes = re.findall(r"^\| `(\w+)\.lock` .* \| (\d+) MB \|$", text, re.MULTILINE)
        assert {lock: int(size) for lock, size in sizes} == {lock: megabytes(lock) for lock in NAMES}
    else:
        whole = (megabytes("train") + megabytes("cuda")) / 1000
        assert f"{whole:.1f} GB" in text
