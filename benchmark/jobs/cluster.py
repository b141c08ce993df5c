"""What a SLURM cluster is asked and told about a training: nodes, signals, jobs that still run, names of the site."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmark.errors import InputError

# A step and a checkpoint take seconds; SLURM may send the signal up to a minute early, never late.
SECONDS_TO_SAVE = 300
LIVE_STATES = {"PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "STOPPED"}


@dataclass(frozen=True)
class Placement:
    """How the GPUs of a training are spread: as few nodes as possible, the same number on each.

    Raises:
        InputError: they cannot be spread evenly.
    """

    gpus: int
    gpus_per_node: int

    def __post_init__(self) -> None:
        if self.gpus % self.nodes:
            raise InputError(
                f"{self.gpus} GPUs cannot be spread evenly over nodes of {self.gpus_per_node}",
                where="configuration: gpus_per_node",
                expected=f"a divisor of {self.gpus}",
                found=self.gpus_per_node,
            )

    @property
    def nodes(self) -> int:
        return max(-(-self.gpus // self.gpus_per_node), 1)

    @property
    def gpus_on_node(self) -> int:
        return self.gpus // self.nodes

    def command(self, *, threads: int) -> str:
        """What stands before `python -m benchmark train`: one process per GPU, by one launcher on each node.

        Nothing for a single process. SLURM's own `tasks` are never used: they would start the whole job once per GPU.

        Args:
            threads: CPU cores on each node.
        """
        if self.gpus <= 1:
            return ""
        launch = f"python -m benchmark.training.launch {self.gpus_on_node}"
        if self.nodes == 1:
            return launch
        return (
            f"srun --nodes={self.nodes} --ntasks={self.nodes} --ntasks-per-node=1 --cpus-per-task={threads}"
            f" --gpus-per-node={self.gpus_on_node} --kill-on-bad-exit=1 {launch}"
        )


def submit_options(placement: Placement, folder: str | Path) -> str:
    """What the executor plugin cannot say itself, for its resource `slurm_extra`.

    A signal before the time limit; GPUs per node, since `--gpus` counts those of all nodes; and, where an earlier
    Snakemake was killed while its job runs on, to wait for that job: the run's lock would refuse a second one.

    Args:
        placement: of the training.
        folder: the run's directory.
    """
    options = [f"--signal=TERM@{SECONDS_TO_SAVE}"]
    if placement.nodes > 1:
        options.append(f"--gpus-per-node={placement.gpus_on_node}")
    job = running_job(folder)
    if job is not None:
        options.append(f"--dependency=afterany:{job}")
    return " ".join(options)


def running_job(folder: str | Path) -> str | None:
    """Id of the SLURM job that trains the run in `folder` now, by its lock file; None if there is none."""
    try:
        job = json.loads((Path(folder) / "run.lock").read_text(encoding="utf-8")).get("slurm_job")
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if not job or shutil.which("squeue") is None:
        return None
    command = ["squeue", "--noheader", "--jobs", str(job), "--format", "%T"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return str(job) if set(answer.stdout.split()) & LIVE_STATES else None


def check_sites(jobs: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Ask SLURM whether it would take these jobs, before the first one is sent.

    Args:
        jobs: name of the rule and resources; `slurm_partition`, `slurm_account` and `runtime` (minutes) are read. Each
            pair of partition and account is asked for once, with its longest job.

    Raises:
        InputError: SLURM is not there, refuses (its own words and the partitions that exist are shown), or would let
            the longest job wait for ever, because the partition's time limit is lower.
    """
    if shutil.which("sbatch") is None:
        raise InputError(
            "this machine has no SLURM", where="PATH", expected="sbatch",
            remedy="start Snakemake on the cluster's login node, or use --profile workstation",
        )  # fmt: skip
    longest: dict[tuple[str | None, str | None], tuple[int, str]] = {}
    for rule, resources in jobs:
        site = (resources.get("slurm_partition"), resources.get("slurm_account"))
        minutes = resources.get("runtime")
        longest[site] = max(longest.get(site, (0, rule)), (minutes if isinstance(minutes, int) else 0, rule))
    for (partition, account), (minutes, rule) in longest.items():
        _check_site(partition, account)
        _check_time(partition, minutes, rule)


def ask_once(module: ModuleType, function: str) -> None:
    """Replace `module.function()`, a question to SLURM's controller, by its answer of now; without one, leave it.

    For the executor plugin's `get_min_job_age`. The plugin (2.8.0) asks before every poll, and where the controller
    does not answer within ten seconds because it is being restarted, takes that for a time too short for squeue and
    polls sacct: without an accounting database, sacct fails at every attempt and the plugin loses its jobs.
    """
    answer = getattr(module, function)()
    if answer is not None:
        setattr(module, function, lambda: answer)


def _check_site(partition: str | None, account: str | None) -> None:
    given = [f"--partition={partition}"] * bool(partition) + [f"--account={account}"] * bool(account)
    command = ["sbatch", "--test-only", "--ntasks=1", "--time=10", *given, "--wrap=true"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if answer.returncode:
        partitions = subprocess.run(["sinfo", "--noheader", "--format=%P"], capture_output=True, text=True, timeout=120)
        raise InputError(
            "SLURM refuses this site's partition or account",
            where="slurm/config.yaml: default-resources",
            expected=f"slurm_partition: one of {', '.join(partitions.stdout.split())} (* is the default)",
            found=f"{' '.join(given) or 'neither is set'}; SLURM says: {' '.join(answer.stderr.split())}",
            remedy="set slurm_partition and slurm_account there; `sacctmgr show associations` lists accounts",
        )


def _check_time(partition: str | None, minutes: int, rule: str) -> None:
    """SLURM takes jobs that are too long for their partition, and never starts them."""
    command = ["sinfo", "--noheader", "--format=%P|%l", *([f"--partition={partition}"] if partition else [])]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
    limits = dict(line.split("|") for line in answer.stdout.split())
    name = next((name for name in limits if partition or name.endswith("*")), None)
    if name and minutes > minutes_of(limits[name]):
        raise InputError(
            f"{rule} asks for more time than a partition allows, and would wait for ever",
            where="slurm/config.yaml",
            expected=f"at most {limits[name]} in partition {name.removesuffix('*')}",
            found=f"{minutes} minutes",
            remedy="trainings, predictions: --config longest_job_hours=HOURS; other rules: set-resources: "
            f"[{rule}:runtime=MINUTES] there. A job that reaches its limit continues in the next attempt",
        )


def minutes_of(limit: str) -> float:
    """A time limit as SLURM prints it, "infinite" or [days-][hours:]minutes:seconds, in minutes."""
    if limit == "infinite":
        return math.inf
    days, _, clock = limit.rpartition("-")
    hours, minutes, seconds = map(int, f"0:{clock}".split(":")[-3:])
    return (int(days or 0) * 24 + hours) * 60 + minutes + seconds / 60
