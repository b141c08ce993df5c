"""Time limits: estimates, by hand, between a floor and the site's longest."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
import yaml

from benchmark.catalog.catalog import DEFAULT_FOLDER
from benchmark.cost.budget import assumptions
from benchmark.cost.planner import Planner
from benchmark.errors import InputError
from benchmark.jobs.limits import TimeLimits
from benchmark.jobs.trainings import TrainingJobs
from benchmark.jobs.wiring import Wiring

LIMITS = assumptions().time_limits
ROOT = DEFAULT_FOLDER.parent


def job(run: str) -> SimpleNamespace:
    return SimpleNamespace(run=run)


def test_a_training_asks_for_its_estimate_times_the_factor_and_again_after_each_attempt():
    wiring = Wiring({"longest_job_hours": 1000})
    run = "swin_smt/totalseg/swin_unetr-s/seed0"
    hours = Planner(wiring.catalog).plan(run).budget.training_hours / 8
    first, second = (TimeLimits(wiring).training(job(run), attempt) for attempt in (1, 2))
    assert first == pytest.approx(LIMITS.factor * hours * 60, abs=1) and second == 2 * first
    fewer = Wiring({"longest_job_hours": 1000, "gpus_per_training": 4})
    assert TimeLimits(fewer).training(job(run), 1) == pytest.approx(2 * first, abs=2)


def test_limits_follow_the_card_and_the_scale():
    run = job("swin_smt/totalseg/swin_unetr-s/seed0")
    first, fast, pilot = (
        TimeLimits(Wiring({"longest_job_hours": 1000, **more})).training(run, 1)
        for more in ({}, {"rate": 2}, {"scale": "pilot", "share": 0.5})
    )
    assert fast == pytest.approx(first / 2, abs=1) and pilot == pytest.approx(first / 2, abs=1)
    with pytest.raises(InputError, match="rate"):
        Wiring({"rate": 0})


@pytest.mark.parametrize("longest", [2, 24, 240])
def test_no_limit_exceeds_the_longest_or_falls_below_the_floor(longest):
    wiring = Wiring({"longest_job_hours": longest})
    limits, ready = TimeLimits(wiring), [run for target in wiring.targets for run in wiring.ready_runs(target)]
    for run in ready:
        for stage, limit in (("train", limits.training), ("predict", limits.prediction)):
            floor = min(LIMITS.shortest_minutes[stage], longest * 60)
            assert floor <= limit(job(run), 1) <= limit(job(run), 6) <= longest * 60
    assert len({limits.training(job(run), 1) for run in ready}) > 1 or longest == 2


def test_every_estimated_training_fits_into_the_attempts_of_the_profile():
    retries = yaml.safe_load((ROOT / "slurm/config.yaml").read_text())["retries"]
    wiring = Wiring({})
    planner, limits = Planner(wiring.catalog), TimeLimits(wiring)
    for plan in planner.runs(wiring.catalog.targets):
        if plan.budget and plan.budget.training_hours is not None:
            wanted = plan.budget.training_hours / TrainingJobs(wiring).gpus(job(plan.run)) * 60
            allowed = sum(limits.training(job(plan.run), attempt) for attempt in range(1, retries + 2))
            assert wanted < allowed, plan.run


@pytest.mark.parametrize("without", ["facts of the dataset", "any facts", "a count", "the papers' scale"])
def test_without_an_estimate_the_limit_is_the_longest(tmp_path, without):
    folder, run = shutil.copytree(DEFAULT_FOLDER, tmp_path / "paper_tables"), "swin_smt/totalseg/unetr/seed0"
    if without == "facts of the dataset":
        facts = yaml.safe_load((folder / "datasets.yaml").read_text())
        facts.pop("totalseg")
        (folder / "datasets.yaml").write_text(yaml.safe_dump(facts))
    elif without == "any facts":
        (folder / "datasets.yaml").unlink()
    elif without == "a count":
        (folder / "swin_smt/measured/flops.csv").unlink()
        (folder / "swin_smt/table1_totalseg.published.csv").write_text("row,column,value,stars,marking\n")
    scale = "demo" if without == "the papers' scale" else "paper"
    limits = TimeLimits(Wiring({"paper_tables": str(folder), "scale": scale, "longest_job_hours": 7}))
    assert limits.training(job(run), 1) == limits.prediction(job(run), 1) == 7 * 60
