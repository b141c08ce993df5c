"""A SLURM site is shown what each kind of job will ask, before the first one is sent.

`sbatch --test-only` says what SLURM refuses: partitions, accounts, more memory or GPUs than a node has. What it takes
and then never starts, a job too long for its partition or without the QOS that the partition wants, is found here.
"""

from __future__ import annotations

import math
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.errors import InputError

SECONDS_TO_ANSWER = 120
# what differs between jobs of one kind, or says nothing of what they need
OF_NO_KIND = r" (?:(?:-t|--job-name|--output|--comment) \S+|--(?:export|dependency)=\S+|--parsable)(?= |$)"
NORMAL_QOS = "normal"  # what SLURM gives a job whose user has no default
Partition = dict[str, str]  # as `scontrol show partition` prints it


@dataclass(frozen=True)
class Request:
    """What a job will ask.

    Attributes:
        rule: its name.
        options: of sbatch, as the executor plugin and the site say them; partition, account and time are beside it.
        partitions: any of them will do; empty means the cluster's default.
        minutes: its time limit, None where it has none.
        cluster: of several, where one is named.
    """

    rule: str
    options: str
    partitions: tuple[str, ...] = ()
    account: str | None = None
    minutes: int | None = None
    cluster: str | None = None

    @classmethod
    def of(cls, rule: str, options: str, resources: Mapping[str, Any]) -> Request:
        """From a job's resources. Of several accounts the executor plugin takes the first."""
        accounts = [word for word in re.split(r"[,\s]+", str(resources.get("slurm_account") or "")) if word]
        partitions = [word for word in str(resources.get("slurm_partition") or "").split(",") if word]
        minutes = resources.get("runtime")
        clusters = (resources.get(name) for name in ("cluster", "clusters", "slurm_cluster"))
        return cls(
            rule,
            re.sub(OF_NO_KIND, "", options).strip(),
            tuple(partitions),
            accounts[0] if accounts else None,
            minutes if isinstance(minutes, int) else None,
            next(filter(None, clusters), None),
        )

    @property
    def qos(self) -> str | None:
        """The quality of service that it names; of several the last counts."""
        named = re.findall(r"(?:--qos[ =]|-q ?)(\S+)", self.options)
        return shlex.split(named[-1])[0] if named else None

    @property
    def place(self) -> str:
        words = [f"--partition={','.join(self.partitions)}"] * bool(self.partitions)
        words += [f"--account={self.account}"] * (self.account is not None)
        return " ".join(words)


def submitted(plugin: Any, job: Any, settings: Any) -> str:
    """Options of sbatch for a job, as the executor plugin will say them; without names, logs, partition and account.

    Args:
        plugin: module of the executor plugin.
        settings: of the workflow's executor.
    """
    nothing = dict.fromkeys(("account", "partition", "workdir"), "")
    names = {"run_uuid": "test", "slurm_logfile": "/dev/null", "comment_str": "test"}
    command = plugin.get_submit_command(job, {**names, **nothing}, settings=settings)
    return command.removeprefix("sbatch") + plugin.set_gres_string(job)


def check_sites(requests: Iterable[Request]) -> None:
    """Ask SLURM whether it would take and start these jobs. Each kind is asked for once, with its longest job.

    Raises:
        InputError: SLURM is not there or does not answer; refuses (its own words and the partitions are shown); or
            would let a job wait for ever.
    """
    if shutil.which("sbatch") is None:
        raise InputError(
            "this machine has no SLURM", where="PATH", expected="sbatch",
            remedy="start Snakemake on the cluster's login node, or use --profile workstation",
        )  # fmt: skip
    kinds: dict[tuple[object, ...], Request] = {}
    for request in requests:
        kind = request.options, request.partitions, request.account, request.cluster
        if kind not in kinds or (request.minutes or 0) > (kinds[kind].minutes or 0):
            kinds[kind] = request
    partitions = _partitions()
    for request in kinds.values():
        _check_accepted(request, partitions)
        if request.cluster is None:
            _check_starts(request, partitions)


def _check_accepted(request: Request, partitions: Mapping[str, Partition]) -> None:
    words = ["--test-only", *shlex.split(f"{request.place} {request.options}"), "--time=10", "--wrap=true"]
    answer = _ask("sbatch", *words)
    if answer.returncode == 0:
        return
    names = [name + "*" * (facts.get("Default") == "YES") for name, facts in partitions.items()]
    raise InputError(
        f"SLURM refuses what {request.rule} asks",
        where="slurm/config.yaml: default-resources, set-resources",
        expected=f"slurm_partition: one of {', '.join(names)} (* is the default), whose nodes have what is asked",
        found=f"{request.place or 'no partition, no account'}; SLURM says: {' '.join(answer.stderr.split())}; asked: "
        + request.options,
        remedy="set slurm_partition and slurm_account there (`sacctmgr show associations` lists accounts); for nodes "
        "with fewer GPUs --config gpus_per_node=N, for fewer cores or less memory set-threads and "
        f"set-resources: [{request.rule}:mem_mb=N]. `sinfo --format='%P %c %m %G'` shows cores, MB and GPUs of nodes",
    )


def _check_starts(request: Request, partitions: Mapping[str, Partition]) -> None:
    """SLURM takes jobs that no partition of theirs would ever start."""
    names = request.partitions or tuple(name for name, facts in partitions.items() if facts.get("Default") == "YES")
    known = [partitions[name] for name in names if name in partitions]
    refusals = [refusal for facts in known if (refusal := _why_never(request, facts))]
    if refusals and len(refusals) == len(known):
        raise refusals[0]


def _why_never(request: Request, partition: Partition) -> InputError | None:
    name, longest = partition["PartitionName"], partition.get("MaxTime", "UNLIMITED")
    if request.minutes is not None and request.minutes > minutes_of(longest):
        return InputError(
            f"{request.rule} asks for more time than a partition allows, and would wait for ever",
            where="slurm/config.yaml",
            expected=f"at most {longest} in partition {name}",
            found=f"{request.minutes} minutes",
            remedy="trainings, predictions: --config longest_job_hours=HOURS; other rules: set-resources: "
            f"[{request.rule}:runtime=MINUTES] there. A job that reaches its limit continues in the next attempt",
        )
    allowed = partition.get("AllowQos", "ALL")
    qos = request.qos or (NORMAL_QOS if allowed == "ALL" else _default_qos(request.account))
    if allowed != "ALL" and qos not in allowed.split(","):
        return InputError(
            f"{request.rule} would wait for ever in a partition for certain qualities of service",
            where="slurm/config.yaml",
            expected=f"in partition {name}, a QOS of {allowed}",
            found=f"{qos} ({'asked for' if request.qos else 'by default'})",
            remedy=f"slurm-qos: {allowed.split(',')[0]} there for all jobs, or set-resources: "
            f"[{request.rule}:qos={allowed.split(',')[0]}]",
        )
    return None


def _default_qos(account: str | None) -> str:
    """What a job gets that names none."""
    if shutil.which("sacctmgr") is None:
        return NORMAL_QOS
    words = ["--noheader", "--parsable2", "show", "associations", "format=Account,DefaultQOS"]
    user = _ask("id", "-un").stdout.strip()
    rows = [line.split("|") for line in _ask("sacctmgr", *words, f"user={user}").stdout.splitlines()]
    return next((row[1] for row in rows if row[1:] and row[1] and account in (None, row[0])), NORMAL_QOS)


def _partitions() -> dict[str, Partition]:
    """Name → facts of every partition, in SLURM's order."""
    lines = _ask("scontrol", "show", "partition", "--oneliner").stdout.splitlines()
    found = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
    return {facts["PartitionName"]: facts for facts in found if "PartitionName" in facts}


def _ask(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_TO_ANSWER)
    except subprocess.TimeoutExpired:
        raise InputError(
            "SLURM does not answer", where=command[0], expected=f"an answer within {SECONDS_TO_ANSWER} s",
            remedy="try again when `sinfo` answers; nothing was sent",
        ) from None  # fmt: skip


def minutes_of(limit: str) -> float:
    """A time limit as SLURM prints it, "UNLIMITED" or [days-][hours:]minutes:seconds, in minutes."""
    if limit.upper() in ("UNLIMITED", "INFINITE"):
        return math.inf
    days, _, clock = limit.rpartition("-")
    hours, minutes, seconds = map(int, f"0:{clock}".split(":")[-3:])
    return (int(days or 0) * 24 + hours) * 60 + minutes + seconds / 60
