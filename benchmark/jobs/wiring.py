"""What the rules ask of the catalog: inputs and parameters of a job, from its wildcards. Knows no Snakemake."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from benchmark.catalog.catalog import load_catalog
from benchmark.catalog.targets import Target
from benchmark.datasets import get_dataset
from benchmark.files import value_digest
from benchmark.jobs.cluster import Placement, submit_options
from benchmark.jobs.configuration import workflow_config
from benchmark.layout import CONTROLS
from benchmark.settings import RunConfig

PAGES = ("coverage", "audit", "budget")
CORES_PER_GPU = 8  # decode and augment patches as fast as one GPU trains on them
MEGABYTES_PER_GPU = 32000
FIELD_PARAMETERS = ("samples", "contribution")  # of a figure of receptive fields: options of the command


def set_job_environment() -> None:
    """What every job inherits: the `python` of this Snakemake, also in cluster jobs or without activation.

    Idle OpenMP threads sleep: spinning ones cost several times the work where jobs share cores.
    """
    folder = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([folder, os.environ.get("PATH", "")])
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def alternatives(names: Iterable[str]) -> str:
    """Regular expression that matches any of the names, and nothing where there are none (an empty one matches all)."""
    return "|".join(names) or "(?!)"


class Wildcards(Protocol):
    """A job's wildcards: any of these attributes, as the rule has them."""

    run: str
    target: str
    dataset: str
    preparation: str
    paper: str
    protocol: str


class Wiring:
    """Functions of wildcards for one configuration.

    Args:
        config: Snakemake's configuration dictionary.

    Raises:
        InputError: the configuration or a file of paper_tables is wrong, or a configured target is unknown.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.settings = workflow_config(dict(config))
        self.catalog = load_catalog(self.settings.paper_tables)
        self._run = lru_cache(maxsize=256)(self.catalog.run)  # one job asks a dozen times for its run
        self.layout = self.settings.layout()
        self.is_demo = self.settings.scale == "demo"
        self.targets = [self.catalog.target(name) for name in self.settings.targets or self.catalog.targets]
        # constraints of the wildcard `target`
        self.tables, self.figures = (
            alternatives(target.target for target in self.catalog.targets.values() if target.kind == kind)
            for kind in ("table", "figure")
        )
        # what `score_controls` writes, with wildcards: outputs of a rule are patterns
        self.control_outputs = [self.layout.control("{paper}", "{protocol}", control) for control in CONTROLS]
        self._ready: dict[str, list[str]] = {}
        # what every command needs to find the same settings again
        self.options = f"--scale {self.settings.scale} --paper-tables {self.settings.paper_tables}"

    # What a run reads

    def run(self, wildcards: Wildcards) -> RunConfig:
        return self._run(wildcards.run, self.settings.scale)

    def prepared(self, wildcards: Wildcards) -> str:
        return self.layout.prepared_for(self.run(wildcards))

    def split(self, wildcards: Wildcards) -> str:
        return self.layout.split(self.run(wildcards).dataset)

    def source(self, wildcards: Wildcards) -> str:
        return self.layout.source(self.run(wildcards).dataset)

    def predicted(self, wildcards: Wildcards) -> str:
        """Our own predictions, or a folder of somebody else's (start_from: predictions)."""
        return self.layout.predicted(wildcards.run)

    def predictions_folder(self, wildcards: Wildcards) -> str:
        return self.layout.predictions_of(wildcards.run)

    def digest(self, wildcards: Wildcards) -> str:
        """Changes with any setting of the run, and with nothing else."""
        return self.run(wildcards).digest

    # How a run is trained on a cluster

    def gpus(self, wildcards: Wildcards) -> int:
        return self._placement(wildcards).gpus

    def threads(self, wildcards: Wildcards) -> int:
        """CPU cores on each node of a training."""
        return 1 if self.is_demo else CORES_PER_GPU * self._placement(wildcards).gpus_on_node

    def memory(self, wildcards: Wildcards) -> int:
        """Megabytes on each node of a training."""
        return 2500 if self.is_demo else MEGABYTES_PER_GPU * self._placement(wildcards).gpus_on_node

    def launch(self, wildcards: Wildcards, threads: int) -> str:
        return self._placement(wildcards).command(threads=threads)

    def slurm_extra(self, wildcards: Wildcards) -> str:
        return submit_options(self._placement(wildcards), Path(self.layout.trained(wildcards.run)).parent)

    def nodes(self, wildcards: Wildcards) -> int:
        """Always said, also for one: SLURM may spread `--gpus` over several nodes otherwise."""
        return self._placement(wildcards).nodes

    # A resource of None is not set. These are for trainings over several nodes only: with `mpi`, the executor plugin
    # leaves `srun` to the rule, and wants at least two tasks per node (of which ours starts one, with all cores).

    def mpi(self, wildcards: Wildcards) -> str | None:
        return "srun" if self.nodes(wildcards) > 1 else None

    def tasks_per_node(self, wildcards: Wildcards) -> int | None:
        return max(self._placement(wildcards).gpus_on_node, 2) if self.nodes(wildcards) > 1 else None

    def cpus_per_task(self, wildcards: Wildcards, threads: int) -> int | None:
        return -(-threads // self.tasks_per_node(wildcards)) if self.nodes(wildcards) > 1 else None

    def _placement(self, wildcards: Wildcards) -> Placement:
        training = self.run(wildcards).training
        most = min(training.devices, self.settings.gpus_per_training or training.devices)
        # every process takes the same share of the batch
        gpus = 0 if self.is_demo else max(number for number in range(1, most + 1) if training.batch % number == 0)
        return Placement(gpus, self.settings.gpus_per_node)

    # What a dataset reads

    def source_argument(self, wildcards: Wildcards) -> str:
        """Where a dataset comes from: a configured folder, the phantom (demo) or a download (paper scale)."""
        if wildcards.dataset in self.settings.roots:
            return f"--root {self.settings.roots[wildcards.dataset]}"
        return "--phantom" if self.is_demo else ""

    def run_prepared_so(self, wildcards: Wildcards) -> str:
        """Any run that reads this store: runs with the same preparation id prepare alike."""
        return next(
            run
            for target in self.catalog.targets.values()
            for run in self._ready_runs(target)
            if self.catalog.run(run, self.settings.scale).preparation_id == wildcards.preparation
        )

    def run_of_protocol(self, wildcards: Wildcards) -> str:
        """Any run of a protocol: controls are scored by the protocol's settings and need no network."""
        wanted = f"{wildcards.paper}/{wildcards.protocol}/"
        runs = (run for target in self.catalog.targets.values() for run in self._ready_runs(target))
        return next(run for run in runs if run.startswith(wanted))

    def control_store(self, wildcards: Wildcards) -> str:
        return self.layout.prepared_for(self.catalog.run(self.run_of_protocol(wildcards), self.settings.scale))

    def control_split(self, wildcards: Wildcards) -> str:
        return self.layout.split(self.catalog.run(self.run_of_protocol(wildcards), self.settings.scale).dataset)

    def control_folder(self, wildcards: Wildcards) -> str:
        return self.layout.controls_of(wildcards.paper, wildcards.protocol)

    # What a table or figure reads

    def target(self, wildcards: Wildcards) -> Target:
        return self.catalog.target(wildcards.target)

    def _ready_runs(self, target: Target) -> list[str]:
        """Runs to be scored that can run today; the table names the others as not attempted."""
        if target.target not in self._ready:  # asked thousands of times while the DAG is built
            self._ready[target.target] = [
                run
                for run in self.catalog.runs(target, scored=True)
                if self.catalog.pending(run) is None
                and self._has_data(self.catalog.run(run, self.settings.scale).dataset)
            ]
        return self._ready[target.target]

    def _has_data(self, dataset: str) -> bool:
        """Whether there is anything to begin with: in the demo a given folder or a phantom. At the papers' scale
        always: what can be neither downloaded nor found in `roots` stops at `fetch`, which says where to get it."""
        return not self.is_demo or dataset in self.settings.roots or get_dataset(dataset).phantom

    def scores(self, wildcards: Wildcards) -> list[str]:
        return [self.layout.scored(run) for run in self._ready_runs(self.target(wildcards))]

    def trained(self, wildcards: Wildcards) -> list[str]:
        return [self.layout.trained(run) for run in self._ready_runs(self.target(wildcards))]

    def controls(self, wildcards: Wildcards) -> list[str]:
        """Scores of the controls for every protocol of a target: what perfection, nothing and position alone score."""
        protocols = sorted({tuple(run.split("/")[:2]) for run in self._ready_runs(self.target(wildcards))})
        return [self.layout.control(*protocol, control) for protocol in protocols for control in CONTROLS]

    def stores(self, wildcards: Wildcards) -> list[str]:
        """Prepared stores of a target's runs: they know which scans show the entire body."""
        runs = self._ready_runs(self.target(wildcards))
        return sorted({self.layout.prepared_for(self.catalog.run(run, self.settings.scale)) for run in runs})

    def costs(self, wildcards: Wildcards) -> list[str]:
        """Counted parameters and FLOPs, where a column asks for them."""
        measures = {column.measure for column in self.target(wildcards).columns.values()}
        return [self.layout.cost(wildcards.target)] if measures & {"parameters", "flops"} else []

    def drawn_tables(self, wildcards: Wildcards) -> list[str]:
        """The tables that a figure draws, if it draws any."""
        figure = self.target(wildcards).figure
        drawn = figure.parameters if figure else {}
        names = [*drawn.get("tables", ()), *([drawn["table"]] if "table" in drawn else [])]
        return [path for name in names for path in self.layout.table(name)]

    def receptive_fields(self, wildcards: Wildcards) -> list[str]:
        """The maps that a figure of receptive fields draws; without trained weights there are none to make."""
        target = self.target(wildcards)
        if not target.draws_receptive_fields or self.settings.start_from != "data":
            return []
        return [self.layout.receptive_field(run) for run in self._ready_runs(target)]

    def receptive_field_options(self, wildcards: Wildcards) -> str:
        """How a run's map is made: by the parameters of the figure that draws it, else by the command's defaults."""
        figures = [target for target in self.catalog.targets.values() if target.draws_receptive_fields]
        drawn = (target.figure.parameters for target in figures if wildcards.run in self.catalog.runs(target))
        parameters = next(drawn, {})
        return " ".join(f"--{name} {parameters[name]}" for name in FIELD_PARAMETERS if name in parameters)

    def specification(self, wildcards: Wildcards) -> str:
        """Changes with the target's rows, columns and published cells: any of them rebuilds the file."""
        return value_digest(self.target(wildcards).model_dump(mode="json"))

    def caption(self, wildcards: Wildcards) -> str:
        return self.target(wildcards).caption

    def labels(self, wildcards: Wildcards) -> dict[str, str]:
        target = self.target(wildcards)
        return {"paper": target.paper, "target": target.number, "what": target.title}

    # What the pages read

    def paper_files(self, _: object = None) -> list[str]:
        """Everything that was published and how it is rebuilt: a change of any of it makes the pages anew."""
        folder = Path(self.settings.paper_tables)
        return sorted(str(path) for path in folder.rglob("*") if path.suffix in (".yaml", ".csv"))

    def all_tables(self, _: object = None) -> list[str]:
        return [self.layout.table(target.target)[1] for target in self.targets if target.kind == "table"]

    def all_costs(self, _: object = None) -> list[str]:
        """Counted networks of every table with parameters or FLOPs."""
        counted = {"parameters", "flops"}
        return [
            self.layout.cost(target.target)
            for target in self.targets
            if target.kind == "table" and counted & {column.measure for column in target.columns.values()}
        ]

    def published_files(self) -> list[str]:
        """Every file that `rule all` asks for."""
        targets = [
            path
            for target in self.targets
            for path in (self.layout.table if target.kind == "table" else self.layout.figure)(target.target)
        ]
        return targets + self._drawn_beside() + [path for page in PAGES for path in self.layout.page(page)]

    def _drawn_beside(self) -> list[str]:
        """Figures from published numbers alone, and training losses where this workflow trains."""
        published = [
            self.layout.published_figure(target.target)
            for target in self.targets
            if target.figure and (target.figure.style == "bubbles" or "stated" in target.figure.parameters)
        ]
        trains = self.settings.start_from == "data"
        curves = [
            self.layout.training_curves(target.target)
            for target in self.targets
            if trains and target.kind == "table" and self._ready_runs(target)
        ]
        return published + curves
