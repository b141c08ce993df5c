"""`make .venv/installed` from indexes of empty wheels: which build of torch comes, with what, and what is said."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.dry_run import REPOSITORY
from installation import stub_index
from installation.stub_index import publish

TRITON = re.search(r"^triton==(\S+)", (REPOSITORY / "envs/cuda.lock").read_text(), re.MULTILINE)[1]
CUDA_REQUIRES = ["sympy", "nvidia-cublas==13.1", f"triton=={TRITON}"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A clone with the real Makefile and locks of a few stubs, beside the two indexes."""
    folder, public = tmp_path / "clone", tmp_path / "public"
    (folder / "envs").mkdir(parents=True)
    shutil.copy(REPOSITORY / "Makefile", folder)
    shutil.copy(REPOSITORY / "envs" / "install.sh", folder / "envs")
    locks = {
        "train": publish(public, "numpy", "1.0") + publish(public, "sympy", "1.0"),
        "cuda": publish(public, "torch", "2.13.0", CUDA_REQUIRES)
        + publish(public, "nvidia-cublas", "13.1")
        + publish(public, "triton", TRITON),
        "dev": publish(public, "pytest", "1.0"),
    }
    publish(public, "triton", "99.0")  # newer than the one that torch pins
    publish(public, "sympy", "2.0")
    publish(tmp_path / "pytorch" / "cpu", "torch", "2.13.0+cpu", ["sympy"])
    for name, entries in locks.items():
        header = f"# 2 packages, {len(name)}00 MB to download (Linux x86_64, Python 3.11).\n"
        (folder / "envs" / f"{name}.lock").write_text(header + entries)
    shutil.copy(stub_index.__file__, folder)
    (folder / "stub_backend.py").write_text(stub_index.BACKEND)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "stub_backend"\nbackend-path = ["."]\n'
        '[project]\nname = "retable"\nversion = "0"\n'
    )
    return folder


def make(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    indexes = project.parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE", "UV_"))}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": (indexes / "public").as_uri()}
    variables = [f"PYTHON={sys.executable}", f"TORCH_INDEX={(indexes / 'pytorch').as_uri()}"]
    command = ["make", *variables, *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


def packages(project: Path) -> dict[str, str]:
    listed = subprocess.run([project / ".venv/bin/pip", "list", "--format", "freeze"], capture_output=True, text=True)
    found = dict(line.split("==") for line in listed.stdout.splitlines() if "==" in line)
    return {name: version for name, version in found.items() if name not in ("pip", "setuptools", "retable")}


def test_without_a_driver_torch_is_the_cpu_build(project: Path) -> None:
    done = make(project, "DRIVER=/nowhere", ".venv/installed")
    assert done.returncode == 0, done.stderr
    assert packages(project) == {"numpy": "1.0", "sympy": "1.0", "torch": "2.13.0+cpu"}
    said = done.stdout.index("500 MB of packages, then the cpu build of torch 2.13.0: about 190 MB")
    assert said < done.stdout.index("pip install")  # of this project itself, the last step

    altered = project.parent / "public" / "pytest" / "pytest-1.0-py3-none-any.whl"
    altered.write_bytes(altered.read_bytes() + b"altered")
    assert make(project, "DRIVER=/nowhere", ".venv/installed-dev").returncode != 0
    assert "pytest" not in packages(project)


def test_with_a_driver_torch_comes_with_its_libraries_and_its_triton(project: Path) -> None:
    driver = project / "version"
    driver.touch()
    done = make(project, f"DRIVER={driver}", ".venv/installed")
    assert done.returncode == 0, done.stderr
    assert packages(project) == {
        "numpy": "1.0",
        "sympy": "1.0",
        "torch": "2.13.0",
        "nvidia-cublas": "13.1",
        "triton": TRITON,
    }
    assert "cuda build of torch 2.13.0: 400 MB with its CUDA libraries" in done.stdout


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("cuda", "-r cuda.lock"), ("cpu", "torch==2.13.0+cpu"), ("cu126", "torch==2.13.0+cu126"), ("", "+cpu")],
)
def test_a_build_can_be_asked_for(project: Path, choice: str, expected: str) -> None:
    """A login node has no driver, the nodes behind it have."""
    recorder = project / "python"
    recorder.write_text('#!/bin/sh\necho "$@"\n')
    recorder.chmod(0o755)
    command = ["sh", str(project / "envs/install.sh"), str(recorder)]
    environment = {**os.environ, "TORCH": choice, "DRIVER": "/nowhere"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert expected in done.stdout.splitlines()[-1]
