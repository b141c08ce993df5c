"""What a SLURM cluster is told of a training: nodes, signals, jobs that still run. What it is asked is in site.py."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from benchmark.errors import InputError
from benchmark.progress import say

# A step and a checkpoint take seconds; SLURM may send the signal up to a minute early, never late.
SECONDS_TO_SAVE = 300
SECONDS_TO_ANSWER = 30  # a controller that is being restarted; squeue itself would wait for much longer
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
    """What sbatch is told of a training that the executor plugin cannot say itself.

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
    """Id of the SLURM job that trains the run in `folder` now, by its lock file; None if there is none, or if SLURM
    does not answer (a line says so): the lock then refuses a second training, and a retry asks again."""
    try:
        job = json.loads((Path(folder) / "run.lock").read_text(encoding="utf-8")).get("slurm_job")
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if not job or shutil.which("squeue") is None:
        return None
    command = ["squeue", "--noheader", "--jobs", str(job), "--format", "%T"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_TO_ANSWER)
    except subprocess.TimeoutExpired:
        say(f"squeue did not answer within {SECONDS_TO_ANSWER} s: whether job {job} still trains {folder} is not known")
        return None
    return str(job) if set(answer.stdout.split()) & LIVE_STATES else None


class Submitting(Protocol):
    """The executor plugin's module that writes the command line of sbatch."""

    get_submit_command: Callable[..., str]


class Querying(Protocol):
    """The executor plugin's module that asks for the states of jobs."""

    query_job_status: Callable[..., Awaitable[tuple[dict[str, str] | None, float | None]]]


def tell_also(module: Submitting, options: Callable[[Any], str]) -> None:
    """Have the executor plugin tell sbatch `options(job)` as well, before everything else.

    The plugin takes further options from one resource, `slurm_extra`. That one is left to the site and to users: what
    a rule sets there would replace theirs, and theirs would replace the rule's. Of an option that is said twice, sbatch
    takes the last: the user's.
    """
    command = module.get_submit_command

    @wraps(command)
    def with_options(job: Any, *arguments: Any, **further: Any) -> str:
        program, _, rest = command(job, *arguments, **further).partition(" ")
        return " ".join(filter(None, (program, options(job), rest)))

    module.get_submit_command = with_options


def name_states_alone(module: Querying) -> None:
    """Have the executor plugin read "CANCELLED by 1000", as sacct says it, as "CANCELLED".

    The plugin (2.8.0) knows only the word, and waits for ever for a job that somebody cancelled.
    """
    query = module.query_job_status

    @wraps(query)
    async def first_words(*arguments: Any) -> tuple[dict[str, str] | None, float | None]:
        states, seconds = await query(*arguments)
        return states and {job: state.split(" ")[0] for job, state in states.items()}, seconds

    module.query_job_status = first_words


def ask_once(module: ModuleType, function: str) -> None:
    """Replace `module.function()`, a question to SLURM's controller, by its answer of now; without one, leave it.

    For the executor plugin's `get_min_job_age`. The plugin (2.8.0) asks before every poll, and where the controller
    does not answer within ten seconds because it is being restarted, takes that for a time too short for squeue and
    polls sacct: without an accounting database, sacct fails at every attempt and the plugin loses its jobs.
    """
    answer = getattr(module, function)()
    if answer is not None:
        setattr(module, function, lambda: answer)
