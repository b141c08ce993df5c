"""`score-run` says which of the files that it reads is missing or damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.cli import main
from benchmark.errors import EXIT_INPUT


@pytest.mark.parametrize(("content", "problem"), [(None, "there is no split.json"), ("[", "split.json is damaged")])
def test_a_split_that_cannot_be_read_is_named(tmp_path: Path, content: str | None, problem: str, capsys) -> None:
    split = tmp_path / "split.json"
    if content:
        split.write_text(content)
    words = ["score-run", "moe_sam/acdc-task/transunet/seed0", "--scale", "demo", "--controls", "--split", str(split)]
    assert main([*words, "--store", str(tmp_path / "prepared.json"), "--out", str(tmp_path / "scores")]) == EXIT_INPUT
    told = capsys.readouterr().err
    assert problem in told and str(split) in told and "retable split" in told
