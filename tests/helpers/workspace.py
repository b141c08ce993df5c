"""A clone to run in, on request with a prepared store of a phantom, and what is measured of the runs in it."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.cluster import Cluster

from benchmark.catalog.catalog import load_catalog
from benchmark.data import phantoms
from benchmark.files import write_json, write_text
from benchmark.layout import Layout

ROOT = Path(__file__).parents[2]
TRIAL = Path(__file__).parents[1] / "slurm" / "trial"
COPIED = ("Snakefile", "workflow", "config", "profiles", "slurm", "envs", "benchmark")
BEING_WRITTEN = shutil.ignore_patterns("*.pyc.*", "*.tmp.*")  # by Python and numba, under their final names in a moment
LIVE = ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING")
STEPS, BATCH, INTERVAL = 60, 4, 10  # as in trial/faults/protocols.yaml


@dataclass(frozen=True)
class Sample:
    """One training sample that was made: which, where and when."""

    index: int
    node: str
    process: int
    time: float


class Workspace:
    """Runs Snakemake and trainings in `folder` and reads what they did."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder, self.cluster, self.marks = folder, cluster, folder / "faults"
        self.marks.mkdir(parents=True)
        for source in (*(ROOT / name for name in COPIED), TRIAL):
            # a copy, so that nobody's edit in the middle of a training matters
            if source.is_dir():
                shutil.copytree(source, folder / source.name, ignore=BEING_WRITTEN)
            else:
                shutil.copy(source, folder / source.name)
        hooks = str(Path(__file__).parents[1] / "slurm" / "hooks")
        self.environment = {**cluster.environment, "PYTHONPATH": hooks, "FAULTS_FOLDER": str(self.marks)}
        self._install_liar()
        for name in ("OMP_NUM_THREADS", "RETABLE_PROCESSES"):
            self.environment.pop(name, None)
        self.layout, self.roots = Layout.at("paper"), ()
        self.plan({})

    def plan(self, plan: dict[str, dict[str, float]]) -> None:
        """What hooks/sitecustomize.py does to which run."""
        write_json(self.marks / "plan.json", plan)

    def let_go(self, run: str) -> None:
        """End the wait of a training that was planned with `hold_at`."""
        (self.marks / f"{run.replace('/', '-')}.struck").touch()

    def snakemake(self, *words: str, log: str, config: Sequence[str] = ()) -> subprocess.Popen:
        """Start Snakemake with the profile that users have, but impatient."""
        command = [sys.executable, "-m", "snakemake", "--profile", "slurm", *words]
        command += ["--max-status-checks-per-second", "1", "--latency-wait", "5", "--config"]
        command += [f"paper_tables={TRIAL.name}", "gpus_per_node=2", *self.roots, *config]
        with (self.folder / log).open("ab") as stream:
            return subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=stream, stderr=stream,
                start_new_session=True,
            )  # fmt: skip

    def follow(self, snakemake: subprocess.Popen, *looks: Callable[[], object], seconds: float = 900) -> int:
        """Call `looks` again and again until Snakemake ends; its exit code.

        Raises:
            TimeoutError: it did not end, and was killed.
        """
        deadline = time.monotonic() + seconds
        while snakemake.poll() is None:
            if time.monotonic() > deadline:
                os.killpg(snakemake.pid, signal.SIGKILL)
                raise TimeoutError(f"Snakemake did not end within {seconds:.0f} s:\n{self.cluster.run('squeue')}")
            for look in looks:
                look()
            time.sleep(0.2)
        return snakemake.returncode

    def lie_about(self, job: str, state: str) -> None:
        """Let the executor plugin see this state of a job, whatever it really is."""
        write_text(self.marks / "lies", f"s/^{job}|.*/{job}|{state}/\n")

    def tail(self, log: str) -> str:
        return (self.folder / log).read_text()[-5000:]

    def train(self, run: str, *, processes: int = 1) -> str:
        """Train a run here, undisturbed and without SLURM; its weights' digest."""
        module = (
            ["benchmark"]
            if processes == 1
            else ["benchmark.training.launch", str(processes), "python", "-m", "benchmark"]
        )
        words = ["train", run, "--scale", "paper", "--paper-tables", TRIAL.name, "--stores", self.store]
        words += ["--splits", self.layout.split("totalseg"), "--out", self.trained(run)]
        environment = {**self.environment, "OMP_NUM_THREADS": "1"}
        subprocess.run(
            [sys.executable, "-m", *module, *words], cwd=self.folder, env=environment, check=True, capture_output=True
        )
        return self.weights(run)

    def trained(self, run: str) -> str:
        return self.layout.trained(run)

    def run_folder(self, run: str) -> Path:
        return (self.folder / self.trained(run)).parent

    def weights(self, run: str) -> str:
        return hashlib.sha256((self.run_folder(run) / "final.safetensors").read_bytes()).hexdigest()

    def log(self, run: str) -> str:
        path = self.folder / "results/logs/runs" / run / "train.log"
        return path.read_text() if path.exists() else ""

    def samples(self, run: str) -> list[Sample]:
        path = self.marks / f"{run.replace('/', '-')}.samples"
        if not path.exists():
            return []
        rows = [line.split() for line in path.read_text().splitlines() if line.count(" ") == 3]
        return [Sample(int(index), node, int(process), float(time)) for index, node, process, time in rows]

    def steps_done(self, run: str) -> int:
        return max((sample.index for sample in self.samples(run)), default=-1) // BATCH

    def steps_repeated(self, run: str) -> float:
        """Steps computed more than once: the work that was lost."""
        samples = self.samples(run)
        return (len(samples) - len({sample.index for sample in samples})) / BATCH

    def starts(self, run: str) -> int:
        """How many processes have made samples of a run."""
        return len({(sample.node, sample.process) for sample in self.samples(run)})

    def jobs_of(self, run: str, *states: str) -> list[str]:
        """The SLURM jobs of a run that are in one of these states (none given: that are alive), the latest last."""
        return [
            job
            for job, facts in self.cluster.jobs().items()
            if facts["comment"].endswith("_" + run.replace("/", "_")) and facts["state"] in (states or LIVE)
        ]

    def processes(self, *words: str) -> list[int]:
        """Ids of live processes whose command line or environment has all of `words`."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                try:
                    text = (folder / "cmdline").read_bytes() + b"\0" + (folder / "environ").read_bytes()
                except OSError:
                    continue
                if all(word.encode() in text for word in words):
                    found.append(int(folder.name))
        return found

    def _install_liar(self) -> None:
        """A squeue that says what `lie_about` wants, but only where the executor plugin asks (by job name)."""
        program, squeue = self.marks / "bin/squeue", shutil.which("squeue")
        lie = f'{squeue} "$@" | sed -f {self.marks}/lies'
        script = f'#!/bin/sh\ncase "$*" in *--name*) {lie};; *) exec {squeue} "$@";; esac\n'
        write_text(self.marks / "lies", "")
        write_text(program, script)
        program.chmod(0o755)
        self.environment["PATH"] = f"{program.parent}:{self.environment['PATH']}"

    def prepare(self) -> None:
        """Everything that a training reads, by the rules themselves, from a phantom of four subjects at 20 mm."""
        raw = self.folder.parent / "phantom"
        phantoms.write(phantoms.get_phantom("totalseg"), raw, subjects=4, spacing=20, processes=1)
        self.roots = (f"roots={{totalseg: {raw}}}",)
        self.store = self.layout.prepared_for(load_catalog(TRIAL).run("faults/one/undisturbed/seed0"))
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--config", f"paper_tables={TRIAL.name}"]
        command += [*self.roots, "--", self.store, self.layout.split_checked("totalseg")]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-5000:]
