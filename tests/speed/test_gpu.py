"""`speed/gpu.sh`: its parts on a CPU in small form, and what it leaves behind when time runs out or results differ."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.dry_run import REPOSITORY

from speed.gpu import Line, Report, measure_all, measured
from speed.gpu_parts import PARTS, Form, Part, catalog, per_device, scan_seconds, step_runs
from speed.sam_encoder import their_key

SMALL = Form("cpu", small=True)
IN_PROCESS = [part for part in PARTS if part.name != "scripts"]
SCRIPTS = next(part for part in PARTS if part.name == "scripts")


def report_of(folder: Path, parts: list[Part]) -> Report:
    return Report(folder, {"machine": "none"}, [(part.name, item) for part in parts for item in part.items(SMALL)])


def written(folder: Path) -> dict:
    return json.loads((folder / "gpu.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("part", IN_PROCESS, ids=lambda part: part.name)
def test_a_part_measures_on_a_cpu(part: Part) -> None:
    line = measured(part, part.items(SMALL)[0], SMALL, left=100.0)
    assert line.note == ""
    if part.checks:
        assert not line.differs
        assert 0 < line.values["difference"] < 1e-4
    else:
        assert line.values["seconds"] > 0


@pytest.mark.parametrize("script", ["soft_moe", "sam_encoder"])  # selective_scan is run by test_guard.py
def test_a_script_runs_in_small_form(script: str) -> None:
    line = measured(SCRIPTS, script, SMALL, left=300.0)
    assert line.note == ""
    assert any("256" in str(value) or "128²" in str(value) for value in line.values.values())


def test_every_network_of_the_papers_gets_a_step() -> None:
    """With each of its options; small batches first."""
    runs = step_runs(Form())
    configs = [catalog().run(run) for run in runs]
    networks = {(config.model.name, str(config.model.options)) for config in configs}
    assert len(runs) == len(networks) > 40
    assert {"swin_smt", "moe_sam", "stunet", "med3d", "sam_med2d", "swin_umamba_d"} <= {name for name, _ in networks}
    voxels = [per_device(config) * math.prod(config.training.patch) for config in configs]
    assert voxels == sorted(voxels)


def test_slow_rows_come_last_and_are_estimated() -> None:
    part = next(part for part in PARTS if part.name == "time column")
    seconds = [scan_seconds(Form(), run) for run in part.items(Form())]
    known = [one for one in seconds if math.isfinite(one)]
    assert len(known) >= 10
    assert 0.1 < known[0] < known[-1] < 3600


def test_what_does_not_fit_into_the_time_is_listed(tmp_path: Path) -> None:
    quick = Part("quick", lambda form: ["one"], lambda form, item, left: {"seconds": 1.0})
    slow = Part("slow", lambda form: ["two"], lambda form, item, left: {"seconds": 9.0}, expected=lambda f, i: 1e6)
    report = report_of(tmp_path, [quick, slow])
    assert measure_all(report, SMALL, [quick, slow], budget=60.0)
    found = written(tmp_path)
    assert [line["item"] for line in found["measured"]] == ["one"]
    assert found["not_reached"] == [{"part": "slow", "item": "two"}]
    table = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "| quick | one | seconds 1 |" in table
    assert "- slow: two" in table


@pytest.mark.parametrize("difference", [0.1, math.nan])
def test_nothing_is_timed_where_results_differ(tmp_path: Path, difference: float) -> None:
    wrong = Part("equal", lambda form: ["scan"], lambda form, item, left: {"difference": difference}, checks=True)
    after = Part("times", lambda form: ["scan"], lambda form, item, left: {"seconds": 1.0})
    report = report_of(tmp_path, [wrong, after])
    assert not measure_all(report, SMALL, [wrong, after], budget=60.0)
    assert written(tmp_path)["not_reached"] == [{"part": "times", "item": "scan"}]


@pytest.mark.parametrize(
    ("error", "note"),
    [(torch.OutOfMemoryError("CUDA"), "out of device memory"), (ImportError("no mamba_ssm"), "no mamba_ssm")],
)
def test_what_cannot_run_becomes_a_note(error: Exception, note: str) -> None:
    def fail(form: Form, item: str, left: float) -> dict:
        raise error

    assert measured(Part("a", lambda form: ["b"], fail), "b", SMALL, 1.0) == Line("a", "b", note=note)


def test_the_shell_script_writes_the_report(tmp_path: Path) -> None:
    words = ["--device", "cpu", "--small", "--parts", "soft moe is equal"]
    done = subprocess.run(
        ["bash", str(REPOSITORY / "speed/gpu.sh"), str(tmp_path / "out"), *words],
        env=os.environ | {"PYTHON": sys.executable}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Everything was reached." in (tmp_path / "out/gpu.md").read_text(encoding="utf-8")
    assert written(tmp_path / "out")["measured"][0]["values"]["difference"] < 1e-4


@pytest.mark.parametrize(
    ("released", "other"),
    [
        ("blocks.11.norm2.weight", "layers.11.layer_norm2.weight"),
        ("blocks.0.attn.rel_pos_h", "layers.0.attn.rel_pos_h"),
        ("blocks.3.mlp.lin1.bias", "layers.3.mlp.lin1.bias"),
        ("patch_embed.proj.weight", "patch_embed.projection.weight"),
        ("neck.3.weight", "neck.layer_norm2.weight"),
        ("pos_embed", "pos_embed"),
    ],
)
def test_keys_of_sam_are_those_of_hugging_face(released: str, other: str) -> None:
    assert their_key(released) == other
