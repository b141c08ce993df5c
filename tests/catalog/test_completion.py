"""Shells complete the names that commands take, from the script alone: no program is started, and it is quick."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from benchmark.catalog import load_catalog
from benchmark.catalog.completion import names_of, script
from benchmark.cli import COMMANDS, build_parser
from benchmark.datasets import available_datasets
from benchmark.models.registry import available_models

BASH = shutil.which("bash")
NAMES = names_of(load_catalog())
COMPLETE = """source "$1"; shift; PATH=
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
_shtab_retable
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    return build_parser(COMMANDS)[0]


@pytest.fixture(scope="module")
def bash_script(parser: argparse.ArgumentParser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "retable"
    path.write_text(script(parser, "bash", NAMES))
    return path


@pytest.mark.skipif(BASH is None, reason="no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("explain table1_tot", ["table1_totalseg"]),
        ("plan table1_totalseg table2_exp", ["table2_experts"]),
        ("new method mine --target table2_exp", ["table2_experts"]),
        ("train swin_smt/totalseg/unetr/", ["swin_smt/totalseg/unetr/seed0"]),
        ("train m4oe/mae_atlas2023/swin_mae/", ["m4oe/mae_atlas2023/swin_mae/seed0"]),
        ("export res", ["results"]),
        ("fetch acd", ["acdc"]),
        ("check swin_smt nnunet", ["nnunet"]),
        ("score a b --convention canon", ["canonical"]),
        ("audit swin_s", ["swin_smt"]),
        ("comple", ["completion"]),
        ("score-run swin_smt/totalseg/unetr/seed0 --scale de", ["demo"]),
    ],
)
def test_bash_completes(words: str, offered: list[str], bash_script: Path) -> None:
    """Without any program on the path, so without Python and torch."""
    begun = time.perf_counter()
    done = subprocess.run([str(BASH), "--norc", "-c", COMPLETE, "bash", str(bash_script), "retable", *words.split()],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert set(offered) <= set(done.stdout.split()), done.stderr
    assert all(name.startswith(words.split()[-1]) for name in done.stdout.split())
    assert not done.stderr and time.perf_counter() - begun < 2


def test_names_of_every_kind_are_there() -> None:
    catalog = load_catalog()
    assert NAMES["targets"] == list(catalog.targets) and NAMES["networks"] == available_models()
    assert NAMES["datasets"] == available_datasets()
    for target in catalog.targets.values():
        assert set(catalog.runs(target)) <= set(NAMES["runs"])
    assert all(names for names in NAMES.values())


def test_every_argument_for_a_run_a_target_or_a_dataset_completes(parser: argparse.ArgumentParser) -> None:
    script(parser, "bash", NAMES)
    (commands,) = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for name, command in commands.items():
        for action in command._actions:
            if action.dest in ("run", "target", "dataset", "network") and "--run" not in action.option_strings:
                assert hasattr(action, "complete"), (name, action.dest)
