"""What SLURM is told: by hand, and with a stand-in for its commands."""

from __future__ import annotations

import asyncio
import importlib
import json
from types import SimpleNamespace

import pytest

from benchmark.errors import InputError
from benchmark.jobs import cluster
from benchmark.jobs.cluster import Placement, ask_once, name_states_alone, running_job, submit_options, tell_also
from benchmark.jobs.trainings import TrainingJobs
from benchmark.jobs.wiring import Wiring


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


def test_a_squeue_that_hangs_is_no_traceback(tmp_path, stand_in, monkeypatch, capsys):
    stand_in("squeue", "exec sleep 60")
    monkeypatch.setattr(cluster, "SECONDS_TO_ANSWER", 0.2)
    (tmp_path / "run.lock").write_text(json.dumps({"slurm_job": "17"}))
    assert running_job(tmp_path) is None
    assert "squeue did not answer" in capsys.readouterr().err


def test_what_sbatch_is_told_is_added_to_what_the_site_says():
    """In front, since sbatch takes the last of an option that is said twice."""
    plugin = SimpleNamespace(get_submit_command=lambda job, names, settings: f"sbatch --parsable {job.extra}")
    tell_also(plugin, lambda job: "--signal=TERM@300" if job.name == "train_run" else "")
    train = SimpleNamespace(name="train_run", extra="--gres-flags=x --signal=TERM@60")
    said = plugin.get_submit_command(train, {}, settings=None)
    assert said == "sbatch --signal=TERM@300 --parsable --gres-flags=x --signal=TERM@60"
    other = SimpleNamespace(name="score_run", extra="--nice")
    assert plugin.get_submit_command(other, {}, settings=None) == "sbatch --parsable --nice"


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ({"7": "CANCELLED by 1000", "8": "COMPLETED", "9": ""}, {"7": "CANCELLED", "8": "COMPLETED", "9": ""}),
        ({}, {}),
        (None, None),  # no answer
    ],
)
def test_who_cancelled_a_job_is_left_out_of_its_state(told, read):
    async def query(command, logger):
        return told, 0.1

    plugin = SimpleNamespace(query_job_status=query)
    name_states_alone(plugin)
    assert asyncio.run(plugin.query_job_status("sacct", None)) == (read, 0.1)


def test_the_executor_plugin_has_what_is_replaced_in_it():
    plugin = importlib.import_module("snakemake_executor_plugin_slurm")
    used = plugin.Executor.run_job.__globals__
    assert used is vars(plugin) and callable(used["get_submit_command"]) and callable(used["get_min_job_age"])
    assert callable(plugin.Executor.check_active_jobs.__globals__["query_job_status"])


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
