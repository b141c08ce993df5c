"""Every `python -m benchmark` of docs/your_own.md and docs/scoring.md, run where its files lie."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from benchmark.cli import main
from benchmark.own import VARIABLE

DOCS = Path(__file__).parents[1] / "docs"
DATASET = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "left": 1, "right": 2}, "file_ending": ".nii.gz"}
ELSEWHERE = {"snakemake": "tests/end_to_end/test_own_data.py", "export": "tests/exchange"}  # need trained runs


def commands(page: str) -> list[str]:
    """Lines that begin with a command, in the order of the page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^(?:python -m benchmark|snakemake) .*$", text, re.MULTILINE)


def write(path: Path, shift: int = 0) -> None:
    labels = np.zeros((10, 18, 16), np.uint8)
    labels[2:7, 3 : 9 + shift, 2:8], labels[4:8, 10:15, 9 + shift : 14] = 1, 2
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), str(path))


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder with everything that the commands name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "")
    for folder, shift in (("labels", 0), ("labelsTs", 0), ("mine", 1), ("theirs", 2)):
        for case in range(3):
            write(tmp_path / folder / f"case{case}.nii.gz", shift)
    write(tmp_path / "reference.nii.gz")
    write(tmp_path / "prediction.mha", 1)
    (tmp_path / "dataset.json").write_text(json.dumps(DATASET))
    return tmp_path


@pytest.mark.parametrize("command", commands("scoring.md"))
def test_a_command_of_scoring_runs(command, place, capsys):
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "benchmark"]
    assert main([*words[3:], "--processes", "1"]) == 0
    assert "dsc" in capsys.readouterr().out
    for option in ("--out", "--plot"):
        if option in words:
            assert (place / words[words.index(option) + 1]).stat().st_size > 100


def test_the_commands_of_ones_own_run_one_after_the_other(place, capsys):
    data = place / "Dataset042_Mine"
    ids = [f"p{number}_visit1" for number in range(6)]
    for name in ids:
        write(data / f"imagesTr/{name}_0000.nii.gz")
        write(data / f"labelsTr/{name}.nii.gz")
    (data / "dataset.json").write_text(json.dumps(DATASET))
    parts = ["train", "val", "test", "test", "train", "train"]
    (place / "who.csv").write_text("case,split\n" + "\n".join(map(",".join, zip(ids, parts, strict=True))))
    (data / "splits_final.json").write_text(json.dumps([{"train": ids[3:], "val": ids[:3]}] * 2))
    (place / "mine").rename(place / "their_predictions")  # the name of the page's folder of one's own
    for command in commands("your_own.md"):
        words = shlex.split(command.replace("/data/Dataset042_Mine", str(data)))
        if not {words[0], *words[3:4]} & set(ELSEWHERE):
            assert words[:3] == ["python", "-m", "benchmark"]
            assert main(words[3:]) == 0, (command, capsys.readouterr().err)
    assert "run         mine/totalseg/my_net/seed0" in capsys.readouterr().out
    assert {path.name for path in (place / "mine").glob("*.yaml")} >= {"paper.yaml", "mine_in_folds_table.yaml"}
