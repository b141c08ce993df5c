"""The DAG, dry: literal commands in a clone, jobs per rule and per target exactly, and messages for a wrong config."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from helpers.dry_run import (
    COMMANDS,
    REPOSITORY,
    counts,
    expected,
    job_counts,
    make_clone,
    planned_jobs,
    run,
)

from benchmark.catalog import load_catalog
from benchmark.cost.planner import Planner

REMEDY = "if a network, dataset or target has landed: python tests/dag/update.py, then read the diff"


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clone(tmp_path_factory.mktemp("clone"))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_plans_exactly_these_jobs(name: str, clone: Path) -> None:
    assert counts(COMMANDS[name], clone) == expected()["commands"][name], REMEDY


def test_jobs_per_target() -> None:
    assert planned_jobs(load_catalog()) == expected()["jobs of a target"], REMEDY


@pytest.mark.parametrize(
    "name", [name for name, command in COMMANDS.items() if command.count("results/") == 1 and "--config" not in command]
)
def test_the_plan_and_the_dag_agree_on_a_target(name: str) -> None:
    """`python -m benchmark plan` promises the jobs that Snakemake then plans."""
    target = Path(COMMANDS[name].split()[-1]).stem
    assert sum(expected()["commands"][name].values()) == expected()["jobs of a target"][target] > 0


@pytest.mark.parametrize(
    ("scale", "name"), [("paper", "everything at the paper's scale"), ("demo", "everything in the demo")]
)
def test_the_plan_and_the_dag_agree_on_everything(scale: str, name: str) -> None:
    catalog = load_catalog()
    whole = Planner(catalog, scale).totals(list(catalog.targets), everything=True)
    assert whole.jobs == sum(expected()["commands"][name].values())


def test_a_variant_is_asked_for_by_its_name(clone: Path) -> None:
    """The rows that have it run by it, Swin SMT by its own recipe; the jobs are those that the plan counts."""
    wanted = "results/table1_totalseg.csv --config variant=original"
    done = run(f"snakemake -n {wanted}", clone)
    assert done.returncode == 0, done.stderr
    planned = job_counts(done.stdout + done.stderr)
    catalog = load_catalog(variant="original")
    assert sum(planned.values()) == Planner(catalog).totals(["table1_totalseg"]).jobs
    assert (planned["train_run"], planned["prepare_cases"]) == (12, 4)  # own, MONAI's, nnU-Net's, nnFormer's
    for one in ("totalseg-unetr/unetr", "totalseg-swin_unetr/swin_unetr-l", "totalseg/swin_smt-n32"):
        assert f"swin_smt/{one}/seed0" in done.stdout + done.stderr
    rows = 'rows={table1_totalseg: ["UNETR"]}'
    command = ["snakemake", "-n", "results/table1_totalseg.csv", "--config", "variant=original", rows]
    done = run(command, clone)
    assert job_counts(done.stdout + done.stderr)["train_run"] == 1


@pytest.mark.parametrize("name", ["one table on a cluster", "everything at the paper's scale"])
def test_the_page_on_slurm_tells_these_jobs(name: str) -> None:
    specification = importlib.util.spec_from_file_location("catalogue", REPOSITORY / "speed/catalogue.py")
    script = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = script  # its data classes look themselves up there
    specification.loader.exec_module(script)
    planned = expected()["commands"][name]
    sent = sum(count for rule, count in planned.items() if rule not in script.local_rules())
    page = (REPOSITORY / "docs/slurm.md").read_text(encoding="utf-8")
    assert f" | {sum(planned.values())} | {sent}: " in page


def test_the_whole_catalogue_stays_small() -> None:
    for planned in expected()["commands"].values():
        assert 0 < sum(planned.values()) <= 4000
    everything = expected()["commands"]["everything at the paper's scale"]
    targets = load_catalog().targets.values()
    assert everything["build_table"] == sum(target.kind == "table" for target in targets)
    assert everything["build_figure"] == sum(target.kind == "figure" for target in targets)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--config scal=demo", ["scal", "did you mean 'scale'"]),
        ("--config variant=orignal", ["unknown variant 'orignal'; did you mean 'original'"]),
        ("--config targets=[table9]", ["unknown target 'table9'", "table1_totalseg"]),
        ("results/table1_totalsg.csv", ["nothing makes", "did you mean 'results/table1_totalseg.csv'"]),
        ("results/table1_totalseg.svg", ["nothing makes", "did you mean 'results/table1_totalseg.csv'"]),
        ("--config paper_tables=nowhere", ["no paper in the folder", "nowhere"]),
    ],
)
def test_a_wrong_configuration_gives_a_message(arguments: str, words: list[str], clone: Path) -> None:
    done = run(f"snakemake -n {arguments}", clone)
    assert done.returncode != 0
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr
