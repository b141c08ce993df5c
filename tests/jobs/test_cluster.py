"""What SLURM is told: by hand, and with a stand-in for its commands."""

from __future__ import annotations

import json
import math
import stat
from types import SimpleNamespace

import pytest

from benchmark.errors import InputError
from benchmark.jobs.cluster import Placement, ask_once, check_sites, minutes_of, running_job, submit_options
from benchmark.jobs.trainings import TrainingJobs
from benchmark.jobs.wiring import Wiring


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Puts a shell script in the place of a SLURM command."""

    def install(name: str, script: str) -> None:
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(stat.S_IRWXU)

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return install


@pytest.mark.parametrize(
    ("gpus", "gpus_per_node", "nodes", "on_node"),
    [(0, 8, 1, 0), (1, 8, 1, 1), (8, 8, 1, 8), (8, 4, 2, 4), (8, 6, 2, 4), (8, 1, 8, 1)],
)
def test_as_few_nodes_as_possible_evenly(gpus, gpus_per_node, nodes, on_node):
    placement = Placement(gpus, gpus_per_node)
    assert (placement.nodes, placement.gpus_on_node) == (nodes, on_node)


def test_uneven_is_refused():
    with pytest.raises(InputError, match="cannot be spread evenly"):
        Placement(8, 3)


def test_one_process_per_gpu_and_never_tasks():
    assert Placement(1, 8).command(threads=8) == ""
    assert Placement(8, 8).command(threads=64) == "python -m benchmark.training.launch 8"
    several = Placement(8, 4).command(threads=32)
    assert several.startswith("srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=32 --gpus-per-node=4 ")
    assert several.endswith("python -m benchmark.training.launch 4")


def test_options_of_a_training(tmp_path):
    assert submit_options(Placement(1, 8), tmp_path) == "--signal=TERM@300"
    assert submit_options(Placement(8, 4), tmp_path) == "--signal=TERM@300 --gpus-per-node=4"


@pytest.mark.parametrize(
    ("script", "expected"),
    [("echo RUNNING", "17"), ("echo PENDING", "17"), ("echo COMPLETED", None), ("exit 1", None)],
)
def test_a_live_job_of_the_run_is_waited_for(tmp_path, stand_in, script, expected):
    stand_in("squeue", script)
    (tmp_path / "run.lock").write_text(json.dumps({"slurm_job": "17"}))
    assert running_job(tmp_path) == expected
    assert ("--dependency=afterany:17" in submit_options(Placement(1, 8), tmp_path)) == (expected is not None)


@pytest.mark.parametrize("lock", ["", "{}", json.dumps({"slurm_job": None})])
def test_a_lock_without_a_job_is_nobody_to_wait_for(tmp_path, stand_in, lock):
    stand_in("squeue", "echo RUNNING")
    (tmp_path / "run.lock").write_text(lock)
    assert running_job(tmp_path) is None


def test_every_pair_of_partition_and_account_is_asked_for_once(tmp_path, stand_in):
    stand_in("sbatch", f"echo $* >> {tmp_path}/asked")
    stand_in("sinfo", "echo 'gpu|infinite'")
    check_sites([("train_run", {"slurm_partition": name}) for name in ("gpu", "gpu", "cpu")])
    asked = (tmp_path / "asked").read_text().splitlines()
    assert sorted("cpu" if "--partition=cpu" in line else "gpu" for line in asked) == ["cpu", "gpu"]
    assert all(line.startswith("--test-only") for line in asked)


def test_a_refusal_shows_slurms_words_and_the_partitions(stand_in):
    stand_in("sbatch", "echo 'invalid account' >&2; exit 1")
    stand_in("sinfo", "echo 'gpu*'; echo cpu")
    with pytest.raises(InputError) as error:
        check_sites([("train_run", {"slurm_account": "lab"})])
    for part in ("--account=lab", "invalid account", "gpu*, cpu", "slurm/config.yaml"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("printed", "minutes"),
    [("infinite", math.inf), ("2-00:00:00", 2880), ("1-12:30:00", 2190), ("4:00:00", 240), ("30:00", 30)],
)
def test_time_limits_as_slurm_prints_them(printed, minutes):
    assert minutes_of(printed) == minutes


@pytest.mark.parametrize(("partition", "refused"), [(None, True), ("long", False)])
def test_a_job_longer_than_its_partition_allows_is_named(stand_in, partition, refused):
    stand_in("sbatch", "true")
    stand_in(
        "sinfo", """case "$*" in *long*) echo 'long|infinite';; *) echo 'long|infinite'; echo 'short*|4:00:00';; esac"""
    )
    jobs = [("score_run", {"runtime": 240}), ("prepare_cases", {"runtime": 720}), ("count_cost", {"runtime": "<TBD>"})]
    asked = [(rule, {**resources, "slurm_partition": partition}) for rule, resources in jobs]
    if not refused:
        check_sites(asked)
        return
    with pytest.raises(InputError, match="prepare_cases asks for more time") as error:
        check_sites(asked)
    for part in ("at most 4:00:00 in partition short", "720 minutes", "prepare_cases:runtime"):
        assert part in str(error.value)


def test_without_slurm_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="workstation"):
        check_sites([("train_run", {})])


def test_an_answer_of_the_controller_outlives_it():
    answers = iter([None, 600, None])
    plugin = SimpleNamespace(get_min_job_age=lambda: next(answers))
    ask_once(plugin, "get_min_job_age")  # no answer yet, so the question stays
    ask_once(plugin, "get_min_job_age")
    assert [plugin.get_min_job_age(), plugin.get_min_job_age()] == [600, 600]


@pytest.mark.parametrize(
    ("settings", "gpus", "nodes"),
    [({}, 8, 1), ({"gpus_per_node": 4}, 8, 2), ({"gpus_per_training": 3}, 2, 1), ({"scale": "demo"}, 0, 1)],
)
def test_resources_of_a_training(settings, gpus, nodes):
    trainings = TrainingJobs(Wiring(settings))
    job = SimpleNamespace(run="swin_smt/totalseg/swin_smt-n4/seed0")
    assert (trainings.gpus(job), trainings.nodes(job)) == (gpus, nodes)
    assert (trainings.mpi(job) == "srun") == (nodes > 1)
    if nodes > 1:
        threads = trainings.threads(job)
        assert trainings.tasks_per_node(job) * trainings.cpus_per_task(job, threads) >= threads
