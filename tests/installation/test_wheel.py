"""The wheel: it has its data and nothing else, and scores, explains and audits in an environment without torch."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.dry_run import REPOSITORY, make_clone
from helpers.label_files import write

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clone, out = make_clone(tmp_path_factory.mktemp("clone")), tmp_path_factory.mktemp("wheel")
    build = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(out), "."]
    subprocess.run([sys.executable, "-m", *build], cwd=clone, check=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """A command of the wheel's environment, run in an empty folder of its own."""
    folder = tmp_path_factory.mktemp("environment")
    python = folder / "bin" / "python"

    def uv(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "uv", *arguments, "--quiet"], check=True)

    uv("venv", "--clear", "--python", sys.executable, str(folder))
    lock = REPOSITORY / "envs" / "base.lock"
    uv("pip", "install", "--python", str(python), "--no-deps", "--require-hashes", "--requirement", str(lock))
    uv("pip", "install", "--python", str(python), "--no-deps", str(wheel))

    def run(name: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = [str(folder / "bin" / name), *arguments]
        return subprocess.run(command, cwd=cwd, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)

    return run


def test_it_has_its_data_and_one_package(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == {"benchmark"}
    listed = subprocess.run(["git", "ls-files", "benchmark", "paper_tables"], cwd=REPOSITORY, check=True,
                            capture_output=True, text=True).stdout.split()  # fmt: skip
    expected = {f"benchmark/{name}" if name.startswith("paper_tables/") else name for name in listed}
    assert names == expected - {"benchmark/paper_tables"}


def test_its_environment_is_complete_and_without_torch(installed: Command, tmp_path: Path) -> None:
    check = "import importlib.util as u; print([n for n in ('torch', 'monai', 'snakemake') if u.find_spec(n)])"
    assert installed("python", "-c", check, cwd=tmp_path).stdout.strip() == "[]"
    done = subprocess.run([sys.executable, "-m", "uv", "pip", "check", "--python",
                           installed("python", "-c", "import sys; print(sys.executable)", cwd=tmp_path).stdout.strip()],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_it_scores_two_folders(installed: Command, tmp_path: Path) -> None:
    reference = np.zeros((6, 7, 8), np.uint8)
    reference[1:5, 1:5, 1:5] = 1
    shifted = np.roll(reference, 1, axis=0)  # 48 of 64 voxels in common
    write(tmp_path / "reference" / "a.nii.gz", reference)
    write(tmp_path / "prediction" / "a.nii.gz", shifted)
    (tmp_path / "labels.yaml").write_text("1: liver\n")
    folders = ["--reference", "reference", "--prediction", "prediction", "--labels", "labels.yaml"]
    done = installed("retable", "score", *folders, "--convention", "all", "--processes", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "75.00" in done.stdout or "0.75" in done.stdout, done.stdout


def test_it_explains_a_cell_and_audits_the_papers(installed: Command, tmp_path: Path) -> None:
    done = installed("retable", "explain", "table1_totalseg", "Swin SMT (ours)", "Overall", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "85.09" in done.stdout
    done = installed("python", "-m", "benchmark", "audit", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "audit.md").stat().st_size > 1000


def test_a_command_that_needs_torch_says_what_to_install(installed: Command, tmp_path: Path) -> None:
    done = installed("retable", "train", "swin_smt/totalseg/swin_smt-n32/seed0", cwd=tmp_path)
    assert done.returncode == 2
    assert "retable[train]" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_complete_commands_and_targets(installed: Command, tmp_path: Path, shell: str) -> None:
    done = installed("retable", "completion", shell, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "receptive-field" in done.stdout and "table1_totalseg" in done.stdout
