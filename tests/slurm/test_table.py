"""From raw data to a table through `--profile slurm`: what SLURM got, where it ran, and what stands in the table."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from helpers.cluster import NODES
from helpers.workspace import Workspace

from benchmark.data import phantoms

pytestmark = pytest.mark.slurm

TARGET = "results/table_small.compare.csv"
LOCAL = {"fetch_dataset", "split_cases", "check_split", "build_table"}
SENT = {
    "verify_dataset": 1,
    "prepare_cases": 1,
    "train_run": 2,
    "predict_cases": 2,
    "score_run": 2,
    "score_controls": 1,
}


@pytest.fixture(scope="module")
def built(cluster, tmp_path_factory) -> Workspace:
    """A clone in which the small table was built from a phantom, as a user would from a local copy of the data."""
    folder = tmp_path_factory.mktemp("table")
    phantoms.write(phantoms.get_phantom("totalseg"), folder / "phantom", subjects=4, spacing=20, processes=1)
    workspace = Workspace(folder / "retable", cluster)
    small = ["--set-threads", *(f"{rule}=1" for rule in SENT)]
    small += ["--set-resources", *(f"{rule}:mem_mb=1500" for rule in SENT)]
    config = [f"roots={{totalseg: {folder / 'phantom'}}}", "longest_job_hours=1"]
    snakemake = workspace.snakemake(TARGET, *small, log="table.log", config=config)
    assert workspace.follow(snakemake) == 0, workspace.tail("table.log")
    return workspace


@pytest.fixture(scope="module")
def log(built) -> str:
    return (built.folder / "table.log").read_text()


@pytest.fixture(scope="module")
def jobs(built, log) -> list[dict[str, str]]:
    """What the controller knows of this Snakemake's jobs."""
    name = re.search(r"SLURM run ID: (\S+)", log).group(1)
    return [facts for facts in built.cluster.jobs().values() if facts["name"] == name]


def rule_of(job: dict[str, str]) -> str:
    return job["comment"].removeprefix("rule_").split("_wildcards_")[0]


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return {line["row"]: line for line in csv.DictReader(stream)}


def test_both_networks_and_the_controls_have_values(built):
    compared, table = (rows_of(built.folder / f"results/table_small{kind}.csv") for kind in (".compare", ""))
    assert set(compared) == {"U-Net", "UNETR"}
    for row, line in compared.items():
        assert 0 <= float(line["rebuilt"]) <= 100
        assert float(table[row]["DSC (%)"]) == pytest.approx(float(line["rebuilt"]), abs=0.005)
        assert (line["n"], line["seeds"], line["convention"]) == ("1", "1", "swin_smt")
        assert line["verdict"] in ("within", "above", "below", "not separable") and line["config_digest"]
    controls = {row: float(line["DSC (%)"]) for row, line in table.items() if row.startswith("control: ")}
    assert controls["control: oracle"] == 100 and controls["control: empty"] == 0
    assert 0 < controls["control: class prior"] < 100


def test_small_rules_run_beside_snakemake_and_the_others_on_the_nodes(log, jobs):
    finished = dict(re.findall(r"^Finished jobid: (\d+) \(Rule: (\w+)\)", log, flags=re.MULTILINE))
    sent = set(re.findall(r"^Job (\d+) has been submitted with SLURM jobid", log, flags=re.MULTILINE))
    assert {rule for job, rule in finished.items() if job not in sent} == LOCAL
    rules = [rule_of(job) for job in jobs]
    assert {rule: rules.count(rule) for rule in rules} == SENT
    assert {job["state"] for job in jobs} == {"COMPLETED"}
    assert {job["nodelist"] for job in jobs} <= set(NODES)


def test_no_job_of_a_run_asks_for_more_time_than_the_site_allows(jobs):
    limits = {rule_of(job): job["timelimit"] for job in jobs}
    assert limits["train_run"] == limits["predict_cases"] == "1:00:00"
