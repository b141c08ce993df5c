"""The profiles and the page of faults say what they must; needs no SLURM."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from helpers.reliability import DOCS, table, with_table

from benchmark.files import read_json

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("profile", ["slurm", "workstation", "demo"])
def test_a_killed_snakemake_continues_and_a_comment_trains_nothing_again(profile):
    settings = yaml.safe_load((ROOT / profile / "config.yaml").read_text())
    assert settings["rerun-incomplete"] is True
    default = yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text())  # read with every profile
    assert "rerun-triggers" not in settings and default["rerun-triggers"] == ["params"]


def test_the_controller_may_be_down_for_half_an_hour():
    settings = yaml.safe_load((ROOT / "slurm/config.yaml").read_text())
    assert settings["slurm-status-attempts"] / settings["max-status-checks-per-second"] >= 1800
    assert settings["slurm-status-command"] == "squeue"


def test_why_no_rule_is_sent_as_a_job_array():
    """The plugin neither submits nor keeps jobs of an array rule while others of that rule are ready but not selected
    (`jobs` and `max-jobs-per-timespan` limit the selection): Snakemake then waits for them for ever. When this fails,
    the plugin has learned it, and arrays may be tried again."""
    from snakemake_executor_plugin_slurm import Executor

    ready = [SimpleNamespace(rule=SimpleNamespace(name="score_run"), is_group=lambda: False) for _ in range(6)]
    sent = []
    executor = SimpleNamespace(
        array_jobs={"score_run"},
        max_array_size=1000,
        logger=logging.getLogger(),
        _main_event_loop=object(),
        _submit_job=sent.append,
        _submit_array_jobs=sent.extend,
        workflow=SimpleNamespace(dag=SimpleNamespace(ready_jobs=ready[2:])),
    )
    Executor.run_jobs(executor, ready[:2])
    assert sent == []
    executor.workflow.dag.ready_jobs = []  # with all of them selected at once it works
    Executor.run_jobs(executor, ready)
    assert sent == ready
    assert "slurm-array-jobs" not in yaml.safe_load((ROOT / "slurm/config.yaml").read_text())


def test_no_rule_asks_for_tasks():
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        assert not re.search(r"^\s+tasks\s*=", path.read_text(), flags=re.MULTILINE), path


def test_every_rule_with_a_gpu_is_named_where_gpus_are_handed_out():
    """On a workstation each takes all of them; on a cluster with a partition for GPU nodes each must be sent there."""
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    with_gpu = {
        name for name, body in re.findall(r"^rule (\w+):\n(.*?)(?=^rule |\Z)", rules, re.M | re.S) if "gpu=" in body
    }
    assert {"train_run", "predict_cases", "measure_receptive_field"} <= with_gpu
    settings = yaml.safe_load((ROOT / "workstation/config.yaml").read_text())
    assert {entry.split(":")[0] for entry in settings["set-resources"]} == with_gpu
    page = (DOCS / "slurm.md").read_text(encoding="utf-8")
    assert all(f"{name}:slurm_partition=gpu" in page for name in with_gpu)


def test_the_page_of_faults_is_what_was_measured():
    text = (DOCS / "reliability.md").read_text(encoding="utf-8")
    assert with_table(text, table(read_json(DOCS / "reliability.json"))) == text
