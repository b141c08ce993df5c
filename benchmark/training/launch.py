"""Several processes on one or more nodes: `python -m benchmark.training.launch PROCESSES python -m benchmark train …`.

What torchrun does, with three differences that matter under a scheduler: a signal to stop is passed on to the training
processes and nothing is killed while they finish their step and save, however long it takes; the exit code is theirs
(75 continue, 2 wrong input) instead of always 1; and the nodes of a SLURM step find each other by themselves
(`srun --ntasks-per-node=1 python -m benchmark.training.launch 4 python -m benchmark train …`).
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from benchmark.errors import EXIT_CONTINUE, EXIT_INPUT, InputError
from benchmark.training.signals import StopRequest
from benchmark.workers import available_processes

REPEAT_SECONDS = 1.0
SHUTDOWN_SECONDS = 30  # for the others, once one process has failed


def main(words: list[str] | None = None) -> int:
    """Start the processes and wait; returns the exit code that says most about what happened."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.training.launch", description=__doc__)
    parser.add_argument("processes", type=int, help="processes on this node: one per GPU")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="python -m benchmark …, which each process runs")
    arguments = parser.parse_args(words)
    stop = StopRequest()
    threading.Thread(target=pass_on, args=(stop,), daemon=True).start()
    try:
        # the training processes share the cores of this one, and set torch's own thread count
        os.environ.setdefault("RETABLE_PROCESSES", str(available_processes()))
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        launch = elastic_launch(launch_config(arguments.processes), sys.executable)
        launch(*arguments.command[1:])  # by this Python
    except ChildFailedError as error:
        return exit_code([failure.exitcode for failure in error.failures.values()], stopped=bool(stop))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_INPUT
    return 0


def launch_config(processes: int) -> LaunchConfig:
    """One node, or all nodes of the SLURM step this runs in. A failure ends the group: the scheduler retries."""
    nodes = int(os.environ.get("SLURM_STEP_NUM_NODES", 1))
    job = f"{os.environ.get('SLURM_JOB_ID', '0')}.{os.environ.get('SLURM_STEP_ID', '0')}"
    return LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=processes,
        run_id=f"{job}.{os.environ.get('SLURM_RESTART_COUNT', '0')}" if nodes > 1 else uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint=rendezvous(nodes),
        # the first node of the step hosts; left to itself, torch guesses from host names and may find none
        rdzv_configs={"is_host": os.environ.get("SLURM_NODEID", "0") == "0"} if nodes > 1 else {},
        max_restarts=0,
        signals_to_handle="SIGHUP",  # the rest is passed on by `pass_on`
        shutdown_timeout=SHUTDOWN_SECONDS,
    )


def rendezvous(nodes: int) -> str:
    """Where the nodes meet: any free port here, or on the step's first node a port that follows from the job."""
    if nodes == 1:
        return "localhost:0"
    command = ["scontrol", "show", "hostnames", os.environ["SLURM_STEP_NODELIST"]]
    first = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]
    return f"{first}:{20000 + int(os.environ['SLURM_JOB_ID']) % 20000}"


def pass_on(stop: StopRequest) -> None:
    """Tell the training processes to stop, again and again, since one that is still starting does not listen yet."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    pause = threading.Event()
    while not pause.wait(REPEAT_SECONDS):
        if stop and listening(children.read_text().split()):
            for child in children.read_text().split():
                os.kill(int(child), signal.SIGUSR2)


def listening(children: list[str]) -> bool:
    """Whether all of them have installed a handler for SIGUSR2, which would end them otherwise."""
    bit = 1 << (signal.SIGUSR2 - 1)
    for child in children:
        status = Path(f"/proc/{child}/status")
        caught = status.read_text().split("SigCgt:")[1].split()[0] if status.exists() else "0"
        if not int(caught, 16) & bit:
            return False
    return bool(children)


def exit_code(codes: list[int], *, stopped: bool) -> int:
    """The group's exit code: wrong input before anything, continue if all that ended did so for that reason."""
    if EXIT_INPUT in codes:
        return EXIT_INPUT
    # asked to stop before they could listen, processes end by the signal itself, and nothing is lost
    harmless = {EXIT_CONTINUE, *(-number for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2) if stopped)}
    return EXIT_CONTINUE if codes and set(codes) <= harmless else 1


if __name__ == "__main__":
    sys.exit(main())
