"""Every command of the README, run in a clone. `make demo` and `make test` are this suite and tests/end_to_end."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.dry_run import make_clone

README = Path(__file__).parents[1] / "README.md"
COMMANDS = [
    line
    for block in re.findall(r"```\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
]
MADE_ELSEWHERE = {"make demo": "tests/end_to_end/test_demo.py", "make test": "this suite, through .ci/run"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone whose .venv is the one that runs this test."""
    folder = make_clone(tmp_path_factory.mktemp("readme"))
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    return folder


def test_the_readme_has_its_two_commands() -> None:
    assert set(MADE_ELSEWHERE) <= set(COMMANDS)
    makefile = README.with_name("Makefile").read_text(encoding="utf-8")
    assert "snakemake --profile demo" in makefile and "-m pytest" in makefile


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in MADE_ELSEWHERE])
def test_a_command_of_the_readme_runs(command: str, clone: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(clone), "XDG_CACHE_HOME": str(clone / ".cache")}
    done = subprocess.run(shlex.split(command), cwd=clone, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout + done.stderr


@pytest.mark.parametrize(
    "link", sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text(encoding="utf-8"))))
)
def test_a_link_of_the_readme_leads_somewhere(link: str) -> None:
    assert (README.parent / link).exists()
