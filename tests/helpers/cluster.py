"""A real SLURM on this machine: one controller, two nodes with two "GPUs" each, on request an accounting database.

Each node lives in namespaces of its own: it has its own host name and process ids, and killing its first process
takes everything on it down at once, as a power cut does.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "unshare")
NODES = ("n1", "n2")
FIELDS = ("State", "Comment", "RestartCnt", "NodeList", "Name", "TimeLimit", "ArrayJobID", "ArrayTaskID")
PR_SET_PDEATHSIG = 1  # linux/prctl.h
NODE_TIMEOUT_SECONDS = 10  # until the controller gives a silent node up; 300 on a real cluster
CONFIGURATION = """
ClusterName=retable
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SwitchType=switch/none
ReturnToService=2
GresTypes=gpu
SlurmdTimeout={node_timeout}
SchedulerParameters=batch_sched_delay=0
KillWait=30
MinJobAge=600
SlurmdParameters=config_overrides
{accounting}
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=ALL MaxTime=10 State=UP
PartitionName=guarded Nodes=ALL AllowQos=special MaxTime=INFINITE State=UP
"""
ACCOUNTING = """
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge/socket
"""
DATABASE_DAEMON = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=root
StorageLoc=accounting
"""


class Cluster:
    """SLURM in `folder`, running between `start` and `stop`; `small_disk` is a disk of 4 MB that its nodes share.

    Args:
        accounting: with MariaDB and slurmdbd, so that sacct knows the jobs.
    """

    def __init__(self, folder: Path, *, accounting: bool = False) -> None:
        self.folder, self.small_disk, self.accounting = folder, folder / "disk", accounting
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "etc/slurm.conf")}
        self._processes: dict[str, subprocess.Popen] = {}
        self._unmount: subprocess.Popen | None = None

    def start(self) -> None:
        self._configure()
        # mounted before the nodes start, so that it is in their namespaces too
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", self.small_disk], check=True)
        # its input ends with this process, however that ends
        command = ["sh", "-c", f"cat > /dev/null; umount --lazy {self.small_disk}"]
        self._unmount = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        munge = self.folder / "munge"
        options = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        words = [f"--{option}={munge / name}" for option, name in options.items()]
        self._start("munged", "munged", "--foreground", "--force", *words)
        wait_for(lambda: (munge / "socket").exists(), "munge's socket")
        if self.accounting:
            self._start_database()
            self.start_accounting()
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        wait_for(
            lambda: self.run("sinfo", "-h", "-N", "-p", "gpu", "-o", "%T").split() == ["idle"] * len(NODES),
            "idle nodes",
        )

    def stop(self) -> None:
        for name in reversed(list(self._processes)):
            self.kill(name)
        if self._unmount is not None:
            self._unmount.communicate()

    def start_accounting(self) -> None:
        self._start("accounting", "slurmdbd", "-D")
        command = ["sacctmgr", "--noheader", "show", "cluster"]
        asked = {"env": self.environment, "capture_output": True}
        wait_for(lambda: subprocess.run(command, **asked).returncode == 0, "slurmdbd")

    def _start_database(self) -> None:
        data = self.folder / "database"
        made = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root", "--skip-test-db"]
        subprocess.run(made, check=True, capture_output=True)
        options = (f"--datadir={data}", f"--socket={data}/socket", f"--pid-file={data}/pid", "--user=root")
        network = ("--bind-address=127.0.0.1", f"--port={self._database_port}", "--skip-grant-tables")
        self._start("database", "mariadbd", "--no-defaults", *options, *network, "--innodb-buffer-pool-size=32M")
        wait_for(lambda: (data / "socket").exists(), "MariaDB's socket")

    def start_controller(self) -> None:
        self._start("controller", "slurmctld", "-D")

    def start_node(self, node: str) -> None:
        # jobs lose SLURM_CONF on their way through the executor plugin, so the configuration is where SLURM looks
        mounts = f"mount --bind {self.folder}/etc /etc/slurm && mount --bind {self.folder}/hosts /etc/hosts"
        inside = f"hostname {node} && {mounts} && slurmd -D -N {node}"
        namespaces = ("--uts", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child")
        self._start(node, "unshare", *namespaces, "sh", "-c", inside)

    def kill(self, name: str) -> None:
        """SIGKILL to munged, controller, or a node with everything that runs on it."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def run(self, *words: str) -> str:
        """Output of a SLURM command; empty if it failed."""
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60).stdout

    def has_saved(self) -> bool:
        """Whether the controller has written all jobs it was given to disk: it does so some seconds later, and what it
        was told just before it is killed, it does not know any more."""
        told = self.run("squeue", "-h", "-t", "all", "-O", "SubmitTime").split()
        return (self.folder / "state/job_state").stat().st_mtime > datetime.fromisoformat(max(told)).timestamp() + 1

    def jobs(self) -> dict[str, dict[str, str]]:
        """What the controller knows of each job: {job id: FIELDS in lower case}."""
        columns = ",".join(f"{field}:|" for field in ("JobID", *FIELDS))
        table = self.run("squeue", "-h", "-t", "all", "-O", columns.removesuffix("|"))
        fields = [field.lower() for field in FIELDS]
        rows = [line.split("|") for line in table.splitlines()]
        return {job.strip(): dict(zip(fields, map(str.strip, rest), strict=True)) for job, *rest in rows}

    def _configure(self) -> None:
        for name in ("etc", "disk", "state", "munge", *NODES):
            (self.folder / name).mkdir(parents=True, mode=0o700)
        (self.folder / "munge/key").write_bytes(secrets.token_bytes(1024))
        (self.folder / "munge/key").chmod(0o400)
        names = f"127.0.0.1 localhost {' '.join(NODES)}\n127.0.0.1 {socket.gethostname()}\n"
        (self.folder / "hosts").write_text(names)
        *ports, accounting, self._database_port = free_ports(3 + len(NODES))
        daemon = DATABASE_DAEMON.format(folder=self.folder, port=accounting, database_port=self._database_port)
        (self.folder / "etc/slurmdbd.conf").write_text(daemon)
        (self.folder / "etc/slurmdbd.conf").chmod(0o600)
        stored = ACCOUNTING.format(folder=self.folder, port=accounting) if self.accounting else ""
        facts = {"controller_port": ports[0], "node_timeout": NODE_TIMEOUT_SECONDS, "accounting": stored}
        lines = [CONFIGURATION.format(folder=self.folder, **facts)]
        for node, port in zip(NODES, ports[1:], strict=True):
            lines.append(f"NodeName={node} NodeAddr=127.0.0.1 Port={port} CPUs=8 RealMemory=16000 Gres=gpu:2")
        (self.folder / "etc/slurm.conf").write_text("\n".join([*lines[1:], lines[0]]))
        for number in range(2):
            (self.folder / f"gpu{number}").touch()
        (self.folder / "etc/gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-1]\n")

    def _start(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as stream:
            self._processes[name] = subprocess.Popen(
                words, env=self.environment, stdout=stream, stderr=stream, start_new_session=True,
                preexec_fn=_die_with_parent,
            )  # fmt: skip


def absent(*further: str) -> str | None:
    """Why SLURM, and these further programs, cannot be started here, or None."""
    missing = [program for program in (*PROGRAMS, *further) if shutil.which(program) is None]
    if missing:
        return f"{', '.join(missing)} not installed (apt-get install slurm-wlm munge slurmdbd mariadb-server)"
    if subprocess.run(["unshare", "--uts", "--mount", "--pid", "--fork", "true"], capture_output=True).returncode:
        return "namespaces need root"
    return None


def _die_with_parent() -> None:
    # a killed test run must not leave a cluster behind
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(condition: Callable[[], object], what: str, *, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.2)
