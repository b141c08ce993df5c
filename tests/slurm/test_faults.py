"""Trainings on a real SLURM, each disturbed in its own way: all end with the weights of an undisturbed one.

One Snakemake runs them together, as it would on a cluster; a watcher strikes each when it is half-way. Work lost is
counted in samples that were computed twice. RETABLE_MEASUREMENTS=FILE keeps what was measured, for docs/reliability.md.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from cluster import wait_for
from workspace import BATCH, INTERVAL, STEPS, Workspace

from benchmark.files import read_json, write_json

pytestmark = pytest.mark.slurm

HALF_WAY = 25  # step: between two checkpoints
PAUSE = 0.04  # seconds per sample, so that there is a half-way to strike at
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
        for name, processes in list(self._processes.items()):
            if not any(os.path.exists(f"/proc/{process}/exe") for process in processes):
                self.gone[name] = time.time()
                del self._processes[name]

    def watch(self, snakemake: subprocess.Popen, *others: Callable[[], object], seconds: float = 400) -> int:
        """Look until Snakemake ends; its exit code."""
        deadline = time.monotonic() + seconds
        while snakemake.poll() is None:
            if time.monotonic() > deadline:
                os.killpg(snakemake.pid, signal.SIGKILL)
                raise TimeoutError(f"Snakemake did not end within {seconds:.0f} s; struck: {self.struck}")
            for look in (self.look, *others):
                look()
            time.sleep(0.2)
        return snakemake.returncode


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
    """One Snakemake over all runs that are struck from outside, while the controller is restarted as well."""
    cluster, disk = workspace.cluster, workspace.cluster.small_disk
    plan = {RUNS[name]: {"pause": PAUSE} for name in TOGETHER}
    plan[RUNS["not_a_number"]]["nan_at"] = plan[RUNS["broken_sample"]]["error_at"] = HALF_WAY * BATCH
    plan[RUNS["out_of_time"]]["pause"] = 6 * PAUSE  # a minute of training, in jobs of a minute
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

    def restart_controller() -> None:
        # SLURM saves its state every few seconds; what it was told just before it died, it may not know any more
        settled = not watcher.waiting and time.time() - max(watcher.struck.values()) > 10
        if settled and "controller" not in watcher.gone:
            cluster.kill("controller")
            watcher.gone["controller"] = time.time()
            time.sleep(8)
            cluster.start_controller()

    strikes = {
        "requeued": lambda: cluster.run("scontrol", "requeue", workspace.job_of(RUNS["requeued"])),
        "cancelled": lambda: cluster.run("scancel", workspace.job_of(RUNS["cancelled"])),
        "disk_full": fill_disk,
        "rank_killed": kill_rank,
    }
    limits = (*SMALL, "train_run:runtime=1 if 'out_of_time' in wildcards.run else 60")
    watcher = Watcher(workspace, strikes)
    targets = [workspace.trained(RUNS[name]) for name in TOGETHER]
    snakemake = workspace.snakemake(*targets, *limits, "train_run:slurm_extra='--signal=TERM@1'", log="together.log")
    assert watcher.watch(snakemake, free_disk, restart_controller) == 0, workspace.tail("together.log")
    assert "controller" in watcher.gone
    return watcher


@pytest.fixture(scope="module")
def afterwards(workspace) -> Watcher:
    """Snakemake is killed and started again while its job runs; then SLURM lies about a job, and a node dies."""
    cluster = workspace.cluster
    workspace.plan({RUNS[name]: {"pause": PAUSE} for name in AFTERWARDS})
    first = workspace.snakemake(workspace.trained(RUNS["orphaned"]), *SMALL, log="killed.log")
    wait_for(lambda: workspace.steps_done(RUNS["orphaned"]) >= HALF_WAY, "the training that will be orphaned")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    # what Snakemake's own message asks for after a kill: it cannot know that it is not still running elsewhere
    assert workspace.snakemake("--unlock", log="unlock.log").wait() == 0, workspace.tail("unlock.log")

    def lose_node() -> None:
        cluster.kill("n2")
        job = workspace.job_of(RUNS["node_lost"])
        wait_for(lambda: cluster.jobs()[job]["restarts"] == "1", "the controller gives the node up")
        cluster.start_node("n2")

    strikes = {
        "vanished": lambda: workspace.lie_about(workspace.job_of(RUNS["vanished"]), "COMPLETED"),
        "node_lost": lose_node,
    }
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
    attempts = len({(sample.node, sample.process) for sample in workspace.samples(run)}) // DEVICES[protocol]
    ended = watcher.gone[name] - watcher.struck[name] if name in watcher.gone else None
    measure(name, steps_repeated=repeated, attempts=attempts, seconds_until_ended=ended, interval=INTERVAL)
    assert repeated <= INTERVAL


def test_a_stop_in_order_loses_nothing(together, workspace):
    for name in ("requeued", "cancelled", "out_of_time"):
        assert workspace.steps_repeated(RUNS[name]) == 0, name
        assert len({(sample.node, sample.process) for sample in workspace.samples(RUNS[name])}) > 1, name


def test_a_dead_rank_ends_the_others_within_a_minute(together):
    assert together.gone["rank_killed"] - together.struck["rank_killed"] < 60


def test_no_run_is_trained_twice_at_once(afterwards, workspace):
    for name in ("orphaned", "vanished"):
        assert workspace.steps_repeated(RUNS[name]) == 0, name
        assert len({(sample.node, sample.process) for sample in workspace.samples(RUNS[name])}) == 1
