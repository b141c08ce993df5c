"""Trainings on a real SLURM, each disturbed in its own way: all end with the weights of an undisturbed one.

One Snakemake runs them together, as it would on a cluster; each waits half-way until a watcher has struck it, so that
nothing here depends on the machine's speed. Work lost is counted in samples that were computed twice.
RETABLE_MEASUREMENTS=FILE keeps what was measured, for docs/reliability.md.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from helpers.cluster import wait_for
from helpers.workspace import BATCH, INTERVAL, STEPS, Workspace

from benchmark.files import read_json, write_json

pytestmark = pytest.mark.slurm

HALF_WAY = 25  # step: between two checkpoints
OUTAGE_SECONDS = 15  # longer than the executor plugin waits for one answer of the controller
SMALL = ("--set-threads", "train_run=1", "--set-resources", "train_run:mem_mb=1000")
DEVICES = {"one": 1, "two": 2, "four": 4}
TOGETHER = {
    "requeued": "one",
    "cancelled": "one",
    "out_of_time": "one",
    "disk_full": "one",
    "not_a_number": "one",
    "broken_sample": "one",
    "rank_killed": "two",
}
AFTERWARDS = {"orphaned": "one", "vanished": "one", "node_lost": "four"}
RUNS = {name: f"faults/{protocol}/{name}/seed0" for name, protocol in {**TOGETHER, **AFTERWARDS}.items()}


class Watcher:
    """Strikes each run once, when it is half-way, and notes when it did and when the struck processes were gone."""

    def __init__(self, workspace: Workspace, strikes: dict[str, Callable[[], object]]) -> None:
        self.workspace, self.waiting = workspace, dict(strikes)
        self.struck: dict[str, float] = {}
        self.gone: dict[str, float] = {}
        self._processes: dict[str, list[int]] = {}

    def look(self) -> None:
        for name in list(self.waiting):
            if self.workspace.steps_done(RUNS[name]) >= HALF_WAY:
                self._processes[name] = self.workspace.processes("benchmark\0train\0" + RUNS[name])
                self.struck[name] = time.time()
                self.waiting.pop(name)()
                self.workspace.let_go(RUNS[name])
        for name, processes in list(self._processes.items()):
            if not any(os.path.exists(f"/proc/{process}/exe") for process in processes):
                self.gone[name] = time.time()
                del self._processes[name]

    def watch(self, snakemake: subprocess.Popen, *others: Callable[[], object]) -> int:
        """Look until Snakemake ends; its exit code."""
        return self.workspace.follow(snakemake, self.look, *others)


@pytest.fixture(scope="session")
def undisturbed(workspace) -> Callable[[str], str]:
    """Digest of the weights that a training of a protocol ends with."""
    known: dict[str, str] = {}

    def digest(protocol: str) -> str:
        if protocol not in known:
            run = f"faults/{protocol}/undisturbed/seed0"
            known[protocol] = workspace.train(run, processes=DEVICES[protocol])
        return known[protocol]

    return digest


@pytest.fixture(scope="module")
def together(workspace) -> Watcher:
    """One Snakemake over all runs that are struck from outside, after the controller was killed and started again."""
    cluster, disk = workspace.cluster, workspace.cluster.small_disk
    plan = {RUNS[name]: {"hold_at": HALF_WAY * BATCH} for name in TOGETHER}
    plan[RUNS["not_a_number"]]["nan_at"] = plan[RUNS["broken_sample"]]["error_at"] = HALF_WAY * BATCH
    workspace.plan(plan)
    workspace.run_folder(RUNS["disk_full"]).mkdir(parents=True)
    (workspace.run_folder(RUNS["disk_full"]) / "checkpoints").symlink_to(disk)

    def fill_disk() -> None:
        subprocess.run(["dd", "if=/dev/zero", f"of={disk}/.filler", "bs=4k"], capture_output=True)

    def free_disk() -> None:
        if "the disk is full" in workspace.log(RUNS["disk_full"]):
            (disk / ".filler").unlink(missing_ok=True)

    def kill_rank() -> None:
        os.kill(workspace.processes("\0RANK=1\0", "benchmark\0train\0" + RUNS["rank_killed"])[0], signal.SIGKILL)

    strikes = {
        "requeued": lambda: cluster.run("scontrol", "requeue", workspace.jobs_of(RUNS["requeued"])[-1]),
        "cancelled": lambda: cluster.run("scancel", workspace.jobs_of(RUNS["cancelled"])[-1]),
        "disk_full": fill_disk,
        "rank_killed": kill_rank,
        "not_a_number": lambda: None,  # planned: it is enough to let them go
        "broken_sample": lambda: None,
    }
    limits = (*SMALL, "train_run:runtime=1 if 'out_of_time' in wildcards.run else 60")
    watcher = Watcher(workspace, strikes)
    targets = [workspace.trained(RUNS[name]) for name in TOGETHER]
    snakemake = workspace.snakemake(*targets, *limits, "train_run:slurm_extra='--signal=TERM@1'", log="together.log")
    restart_controller(workspace)
    assert watcher.watch(snakemake, free_disk) == 0, workspace.tail("together.log")
    return watcher


def restart_controller(workspace: Workspace) -> None:
    """Kill it while all trainings that have started wait half-way, and it has saved every job it was given."""

    def running() -> list[str]:
        return [run for run in map(RUNS.get, TOGETHER) if workspace.jobs_of(run, "RUNNING")]

    def all_wait() -> bool:
        sent = all(workspace.jobs_of(RUNS[name]) for name in TOGETHER)
        return sent and all(workspace.steps_done(run) >= HALF_WAY for run in running()) and cluster.has_saved()

    cluster = workspace.cluster
    wait_for(lambda: running() and all_wait(), "trainings half-way")
    held = running()
    cluster.kill("controller")
    time.sleep(OUTAGE_SECONDS)
    cluster.start_controller()
    wait_for(cluster.jobs, "the controller")
    repeated, starts = max(map(workspace.steps_repeated, held)), workspace.starts(held[0])
    measure("controller", steps_repeated=repeated, attempts=starts, seconds_until_ended=None, interval=INTERVAL)


@pytest.fixture(scope="module")
def afterwards(workspace) -> Watcher:
    """Snakemake is killed and started again while its job runs; then SLURM lies about a job, and a node dies."""
    cluster, orphaned = workspace.cluster, RUNS["orphaned"]
    workspace.plan({RUNS[name]: {"hold_at": HALF_WAY * BATCH} for name in AFTERWARDS})
    first = workspace.snakemake(workspace.trained(orphaned), *SMALL, log="killed.log")
    wait_for(lambda: workspace.steps_done(orphaned) >= HALF_WAY, "the training that will be orphaned")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    # what Snakemake's own message asks for after a kill: it cannot know that it is not still running elsewhere
    assert workspace.snakemake("--unlock", log="unlock.log").wait() == 0, workspace.tail("unlock.log")

    def wait_for_second_job(name: str) -> None:
        wait_for(lambda: len(workspace.jobs_of(RUNS[name])) == 2, f"a second job of {name} beside the first")

    def lie() -> None:
        workspace.lie_about(workspace.jobs_of(RUNS["vanished"])[-1], "COMPLETED")
        wait_for_second_job("vanished")

    def lose_node() -> None:
        cluster.kill("n2")
        job = workspace.jobs_of(RUNS["node_lost"])[-1]
        wait_for(lambda: cluster.jobs()[job]["restartcnt"] == "1", "the controller gives the node up")
        cluster.start_node("n2")

    strikes = {"orphaned": lambda: wait_for_second_job("orphaned"), "vanished": lie, "node_lost": lose_node}
    watcher = Watcher(workspace, strikes)
    targets = [workspace.trained(RUNS[name]) for name in AFTERWARDS]
    second = workspace.snakemake(*targets, *SMALL, log="afterwards.log")
    assert watcher.watch(second) == 0, workspace.tail("afterwards.log")
    return watcher


def measure(name: str, **values: object) -> None:
    """Keep what was measured of a fault, if asked to."""
    path = os.environ.get("RETABLE_MEASUREMENTS")
    if path:
        known = read_json(path) if os.path.exists(path) else {}
        write_json(path, {**known, name: {**known.get(name, {}), **values}})


@pytest.mark.parametrize("name", [*TOGETHER, *AFTERWARDS])
def test_ends_as_if_undisturbed(request, undisturbed, workspace, name):
    watcher = request.getfixturevalue("together" if name in TOGETHER else "afterwards")
    run, protocol = RUNS[name], {**TOGETHER, **AFTERWARDS}[name]
    assert workspace.weights(run) == undisturbed(protocol)
    assert workspace.steps_done(run) == STEPS - 1
    repeated = workspace.steps_repeated(run)
    attempts = workspace.starts(run) // DEVICES[protocol]
    ended = watcher.gone[name] - watcher.struck[name] if name in watcher.gone else None
    measure(name, steps_repeated=repeated, attempts=attempts, seconds_until_ended=ended, interval=INTERVAL)
    assert repeated <= INTERVAL


def test_a_stop_in_order_loses_nothing(together, workspace):
    for name in ("requeued", "cancelled", "out_of_time"):
        assert workspace.steps_repeated(RUNS[name]) == 0, name
        assert workspace.starts(RUNS[name]) > 1, name


def test_a_dead_rank_ends_the_others_within_a_minute(together):
    assert together.gone["rank_killed"] - together.struck["rank_killed"] < 60


def test_no_run_is_trained_twice_at_once(afterwards, workspace):
    for name in ("orphaned", "vanished"):
        assert workspace.steps_repeated(RUNS[name]) == 0, name
        assert workspace.starts(RUNS[name]) == 1


def test_a_controller_that_does_not_answer_is_asked_again(together, workspace):
    """And not sacct, which without an accounting database never answers: Snakemake would wait for ever."""
    assert "Falling back to 'sacct'" not in (workspace.folder / "together.log").read_text()
