"""The simulated schedule: by hand where hands suffice, by its invariants where they do not."""

from __future__ import annotations

import random

import pytest

from benchmark.catalog.catalog import load_catalog
from benchmark.cli import main
from benchmark.cost.planner import Planner
from benchmark.cost.schedule import Job, draw, jobs_of, remaining_hours, simulate
from benchmark.errors import InputError


def _jobs(seed: int, number: int = 60) -> list[Job]:
    generator = random.Random(seed)
    jobs: list[Job] = []
    for index in range(number):
        needs = tuple(job.name for job in generator.sample(jobs, min(len(jobs), generator.randrange(3))))
        hours = generator.choice([0.0, 0.5, 1.0, 3.0, 10.0])
        jobs.append(Job(f"p/d/{index}", "train", generator.choice([0, 1, 1, 2, 4, 8]), hours, needs))
    return jobs


def test_by_hand():
    jobs = [
        Job("data", "prepare", 0, 1.0),
        Job("long", "train", 2, 5.0, ("data",)),
        Job("short", "train", 1, 2.0, ("data",)),
        Job("label", "predict", 1, 1.0, ("short",)),
    ]
    placed = {one.job.name: (one.start, one.end) for one in simulate(jobs, gpus=2)}
    # the longest way first: long takes both GPUs, the others follow one another
    assert placed == {"data": (0, 1), "long": (1, 6), "short": (6, 8), "label": (8, 9)}
    placed = {one.job.name: (one.start, one.end) for one in simulate(jobs, gpus=3)}
    assert placed == {"data": (0, 1), "long": (1, 6), "short": (1, 3), "label": (3, 4)}


def test_a_small_job_passes_a_large_one_that_must_wait():
    jobs = [Job("a", "train", 1, 4.0), Job("large", "train", 2, 9.0, ("a",)), Job("small", "train", 1, 1.0)]
    assert {one.job.name: one.start for one in simulate(jobs, gpus=2)} == {"a": 0, "small": 0, "large": 4}


def test_remaining_hours_is_the_longest_way():
    jobs = [Job("a", "x", 0, 1.0), Job("b", "x", 0, 2.0, ("a",)), Job("c", "x", 0, 5.0, ("a",))]
    jobs.append(Job("d", "x", 0, 1.0, ("b", "c")))
    assert remaining_hours(jobs) == {"a": 7, "b": 3, "c": 6, "d": 1}


@pytest.mark.parametrize("gpus", [8, 12, 64])
@pytest.mark.parametrize("seed", range(8))
def test_no_node_is_overbooked_and_nothing_starts_before_what_it_needs(seed, gpus):
    jobs = _jobs(seed)
    placed = simulate(jobs, gpus=gpus)
    assert sorted(one.job.name for one in placed) == sorted(job.name for job in jobs)
    ends = {one.job.name: one.end for one in placed}
    for one in placed:
        assert all(ends[need] <= one.start for need in one.job.needs)
        beside = [
            other
            for other in placed
            if other.node == one.node and other.start <= one.start < other.end and one.job.gpus
        ]
        capacity = min(8, gpus - 8 * (one.node or 0))
        assert one.node is None or sum(other.job.gpus for other in beside) <= capacity
    makespan, area = max(ends.values()), sum(job.gpus * job.hours for job in jobs)
    assert makespan >= max(max(remaining_hours(jobs).values()), area / gpus) - 1e-9


def test_with_gpus_for_all_it_takes_the_critical_path():
    jobs = _jobs(1)
    assert max(one.end for one in simulate(jobs, gpus=8 * len(jobs))) == max(remaining_hours(jobs).values())


def test_a_job_that_fits_no_node_is_an_error():
    with pytest.raises(InputError, match="needs 8 GPUs on one node"):
        simulate([Job("a", "train", 8, 1.0)], gpus=4)


@pytest.mark.parametrize("gpus", ["0", "-8", "many"])
def test_a_cluster_without_gpus_is_refused(gpus, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["schedule", f"--gpus={gpus}"])
    assert caught.value.code == 2 and "a number of GPUs was expected" in capsys.readouterr().err


def test_jobs_are_of_the_protocol_that_theirs_is_a_recipe_of():
    planner = Planner(load_catalog())
    jobs, unknown = jobs_of(planner, planner.runs(["table1_abdomenmri"]))
    protocols = {job.name.split("/")[1] for job in jobs if job.gpus}
    assert not unknown and {"abdomen_mri", "abdomen_mri-unetr"} <= protocols
    assert {job.family for job in jobs if job.gpus} == {"abdomen_mri"}
    assert {job.family for job in jobs if job.stage in ("fetch", "prepare")} == {""}


def test_the_picture_is_drawn(tmp_path):
    jobs = [Job("train a", "train", 2, 30.0, family="one"), Job("predict b", "predict", 1, 3.0, family="two")]
    draw(simulate(jobs, gpus=4), tmp_path / "gantt.svg", gpus=4)
    first = (tmp_path / "gantt.svg").read_bytes()
    assert b"</svg>" in first and all(f">{text}</text>".encode() in first for text in ("days", "one", "two"))
    draw(simulate(jobs, gpus=4), tmp_path / "again.svg", gpus=4)
    assert (tmp_path / "again.svg").read_bytes() == first
