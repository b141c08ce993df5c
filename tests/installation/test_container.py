"""Containers: both recipes do the same, and rules run in the image when they are asked to."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from helpers.clone import SNAKEMAKE, environment
from helpers.dry_run import REPOSITORY, make_clone

ENVS = REPOSITORY / "envs"
# Stands in for Apptainer: notes how it was called, and runs the command without a container.
APPTAINER = """#!/bin/sh
test "$1" = --version && echo "apptainer version 1.3.0" && exit
echo "$@" >> {log}
while test "$1" != bash; do shift; done
exec "$@"
"""


def test_both_recipes_copy_and_run_the_same() -> None:
    apptainer, docker = (ENVS / "retable.def").read_text(), (ENVS / "Dockerfile").read_text()
    copied = re.search(r"^ +(envs/.*)$", apptainer, re.MULTILINE)[1]
    assert f"COPY {copied}\n" in docker
    for line in ("TORCH=cuda sh /opt/retable/envs/container.sh", "/opt/retable/venv/bin/python -c 'import monai"):
        assert f"    {line}" in apptainer and f"RUN {line}" in docker
    files = copied.split()[:-1]
    assert all((REPOSITORY / name).exists() for name in files)
    used = set(re.findall(r"\b[a-z]+\.lock\b", (ENVS / "install.sh").read_text().split("set -eu")[1]))
    assert {f"envs/{name}" for name in used} <= set(files)


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
