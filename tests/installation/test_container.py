"""Containers: both recipes are the same steps, which build a clean Debian, and rules run in the image when asked to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.clone import SNAKEMAKE, environment
from helpers.dry_run import REPOSITORY, make_clone
from installation.recipes import Recipe, build, debian, of_definition, of_dockerfile, run_in
from installation.stub_index import publish

ENVS = REPOSITORY / "envs"
# Lock → package → its modules: what the recipe's check asks for.
STUBS = {
    "train": {name: {f"{name}.py": ""} for name in ("monai", "nnunetv2")},
    "cuda": {"torch": {"torch.py": "class version:\n    cuda = '13.0'\n"}, "triton": {"triton.py": ""}},
}
# Stands in for Apptainer: notes how it was called, and runs the command without a container.
APPTAINER = """#!/bin/sh
test "$1" = --version && echo "apptainer version 1.3.0" && exit
echo "$@" >> {log}
while test "$1" != bash; do shift; done
exec "$@"
"""


def recipe() -> Recipe:
    return of_definition((ENVS / "retable.def").read_text())


def test_both_recipes_are_the_same_steps() -> None:
    assert recipe() == of_dockerfile((ENVS / "Dockerfile").read_text())
    assert all((REPOSITORY / name).is_file() for name in recipe().files)
    used = set(re.findall(r"\b[a-z]+\.lock\b", (ENVS / "install.sh").read_text().split("set -eu")[1]))
    assert {f"envs/{name}" for name in used} <= set(recipe().files)


@pytest.mark.parametrize(
    ("file", "was", "now"),
    [
        ("Dockerfile", "RUN TORCH=cuda", "RUN TORCH=cpu"),
        ("Dockerfile", "FROM debian:bookworm-slim", "FROM debian:trixie-slim"),
        ("Dockerfile", " envs/cuda.lock", ""),
        ("Dockerfile", "ENV PATH=", "RUN apt-get update\nENV PATH="),
        ("retable.def", "assert torch.version.cuda", "pass"),
        ("retable.def", "/opt/retable/venv/bin:$PATH", "/opt/venv/bin:$PATH"),
    ],
)
def test_a_step_that_only_one_recipe_has_is_noticed(file: str, was: str, now: str) -> None:
    changed = (ENVS / file).read_text().replace(was, now, 1)
    read, other = (of_dockerfile, "retable.def") if file == "Dockerfile" else (of_definition, "Dockerfile")
    read_other = of_definition if other == "retable.def" else of_dockerfile
    assert read(changed) != read_other((ENVS / other).read_text())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A clean root in which the recipe's steps were done, from an index of stubs, and what they said."""
    if os.getuid() or not shutil.which("debootstrap"):
        absent = "building a root of Debian needs root and debootstrap"
        pytest.fail(absent) if os.environ.get("RETABLE_REQUIRE_CONTAINER") else pytest.skip(absent)
    folder = tmp_path_factory.mktemp("container")
    root, repository = folder / "root", folder / "repository"
    debian(root, recipe().base)
    shutil.copytree(ENVS, repository / "envs", ignore=shutil.ignore_patterns("*.lock"))
    for name, packages in STUBS.items():
        entries = [publish(root / "index", package, "1.0", modules=modules) for package, modules in packages.items()]
        (repository / "envs" / f"{name}.lock").write_text("# 2 packages, 2 MB to download.\n" + "".join(entries))
    yield root, build(recipe(), repository, root, PIP_INDEX_URL="file:///index")
    subprocess.run(["rm", "-r", "--one-file-system", str(folder)], check=True)


def test_its_steps_build_a_clean_root_of_debian(built: tuple[Path, str]) -> None:
    root, said = built
    assert "then the cuda build of torch 1.0: 2 MB with its CUDA libraries" in said
    listed = run_in(root, "/opt/retable/venv/bin/pip list --format freeze").split()
    assert {f"{package}==1.0" for packages in STUBS.values() for package in packages} <= set(listed)
    assert not list((root / "var/lib/apt/lists").iterdir())


def test_kernels_can_be_compiled_in_it(built: tuple[Path, str]) -> None:
    """What torch.compile and Triton ask for: C++ with its library and OpenMP, and a module of Python in C."""
    root, _ = built
    (root / "kernel.cpp").write_text("#include <cmath>\n#include <omp.h>\n#include <vector>\n")
    (root / "module.c").write_text("#include <Python.h>\n")
    run_in(root, "g++ -shared -fPIC -fopenmp /kernel.cpp -o /kernel.so")
    run_in(root, "gcc -shared -fPIC -I /usr/include/python3.11 /module.c -o /module.so")


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="Debian's Python is 3.11")
def test_the_packages_of_here_run_in_it(built: tuple[Path, str]) -> None:
    """They find each library of the system that they want, and a job of the clone runs."""
    root, _ = built
    there = {"/packages": Path(sysconfig.get_path("purelib")), "/clone": REPOSITORY}
    found = {"PYTHONPATH": "/packages:/clone", "PYTHONDONTWRITEBYTECODE": "1"}
    python = "/opt/retable/venv/bin/python"
    packages = "blosc2, imagecodecs, monai, nnunetv2, numba, SimpleITK, snakemake, statsmodels.api, tensorboard, torch"
    said = run_in(root, f"{python} -c 'import {packages}; print(torch.ones(2).sum())'", there, **found)
    assert said == "tensor(2.)\n"
    run_in(root, f"{python} -m benchmark figure fig3b_speed_vs_dsc --published --out-dir /figures", there, **found)
    assert "<svg" in (root / "figures/published/fig3b_speed_vs_dsc.svg").read_text(encoding="utf-8")


def test_rules_run_in_the_image_when_asked(tmp_path: Path) -> None:
    clone, log, image = make_clone(tmp_path / "clone"), tmp_path / "calls", tmp_path / "image.sif"
    image.touch()
    stub = tmp_path / "bin" / "apptainer"
    stub.parent.mkdir()
    stub.write_text(APPTAINER.format(log=log))
    stub.chmod(0o755)
    path = os.pathsep.join([str(stub.parent), str(SNAKEMAKE.parent), os.environ["PATH"]])
    figure = "results/published/fig3b_speed_vs_dsc.svg"
    command = [str(SNAKEMAKE), "--cores", "1", figure, "--config", f"container={image}"]
    command += ["--sdm", "apptainer", "--apptainer-args=--nv"]
    done = subprocess.run(command, cwd=clone, env={**environment(clone), "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (call,) = log.read_text().splitlines()
    assert "--nv" in call and f"{image} bash -c" in call and "python -m benchmark figure" in call
    assert (clone / figure).exists()
