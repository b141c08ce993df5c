"""What the rules ask of the catalog: inputs and parameters of a job, from its wildcards. Knows no Snakemake.

Here: runs and datasets. Trainings, tables and figures, and what has changed, are in the modules beside this one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

from benchmark.catalog.catalog import load_catalog
from benchmark.catalog.reading import pick
from benchmark.catalog.targets import Target
from benchmark.datasets import available_datasets, get_dataset
from benchmark.errors import IN_WORKFLOW, InputError
from benchmark.jobs.configuration import refuse_braces, workflow_config
from benchmark.jobs.handed_in import handed_in
from benchmark.layout import CONTROLS, Layout
from benchmark.lineage import STRICT
from benchmark.own import own_files, use_folders
from benchmark.settings import PreparedData, RunConfig
from benchmark.settings.folds import whole_of
from benchmark.version import REPOSITORY


def set_job_environment(*, strict: bool = False) -> None:
    """What every job inherits: the `python` of this Snakemake and this very package, also in cluster jobs, without
    activation or installation, and whatever modules the working directory holds.

    Idle OpenMP threads sleep: spinning ones cost several times the work where jobs share cores.

    Args:
        strict: results made with other code are made anew (`benchmark.lineage`).
    """
    folder = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([folder, os.environ.get("PATH", "")])
    os.environ["RETABLE_CLONE"] = str(REPOSITORY)  # for envs/train.post-deploy.sh, of which Snakemake runs a copy
    if os.pathsep not in str(REPOSITORY):  # no such folder can stand in a list of folders
        searched = [str(REPOSITORY), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(searched))
        os.environ["PYTHONSAFEPATH"] = "1"  # `python -m` would look into the working directory first
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ[IN_WORKFLOW] = "1"
    os.environ.pop(STRICT, None)
    if strict:
        os.environ[STRICT] = "1"


def told(words: str | list[str]) -> Callable[..., str | list[str]]:
    """Words of a command as a param whose change makes nothing anew, since a path that is spelt otherwise is no change:
    Snakemake compares no params that are functions of the input."""
    return lambda wildcards, input: words


def alternatives(names: Iterable[str]) -> str:
    """Regular expression that matches any of the names, and nothing where there are none (an empty one matches all)."""
    return "|".join(names) or "(?!)"


class Wildcards(Protocol):
    """A job's wildcards: any of these attributes, as the rule has them."""

    run: str
    target: str
    dataset: str
    preparation: str
    point: str
    paper: str
    protocol: str
    what: str

    def items(self) -> Iterable[tuple[str, str]]:
        """Name and value of each."""


class Wiring:
    """Functions of wildcards for one configuration.

    Args:
        config: Snakemake's configuration dictionary.

    Raises:
        InputError: the configuration or a file of paper_tables is wrong, a configured target is unknown, or the clone
            lies where Snakemake cannot find its environments.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        refuse_braces(str(REPOSITORY), where="the clone")
        self.settings = workflow_config(dict(config))
        use_folders(self.settings.papers)
        self.catalog = load_catalog(
            self.settings.paper_tables,
            seeds=self.settings.seeds,
            share=self.settings.share,
            variant=self.settings.variant,
        )
        self._run = lru_cache(maxsize=256)(self.catalog.run)  # one job asks a dozen times for its run
        self._check()
        self.layout = Layout.at(self.settings.scale, **handed_in(self.settings, self.catalog))
        self.is_demo = self.settings.scale == "demo"
        wanted = self.catalog.targets if self.settings.targets is None else self.settings.targets
        self.targets = [self.catalog.target(name) for name in wanted]
        for target, rows in self.settings.rows.items():
            for row in rows:
                pick(self.catalog.target(target).rows, row, f"row of {target}", "configuration: rows")
        for target, datasets in self.settings.datasets.items():
            known = {
                self._run(run).dataset: None for run in self.catalog.runs(self.catalog.target(target), scored=True)
            }
            for dataset in datasets:
                pick(known, dataset, f"dataset of {target}", "configuration: datasets")
        # constraints of the wildcard `target`
        self.tables, self.figures = (
            alternatives(target.target for target in self.catalog.targets.values() if target.kind == kind)
            for kind in ("table", "figure")
        )
        # what `score_controls` writes, with wildcards: outputs of a rule are patterns
        self.control_outputs = [self.layout.control("{paper}", "{protocol}", control) for control in CONTROLS]
        self._ready: dict[str, list[str]] = {}
        # words that every command needs to find the same settings again
        self.options = list(self._options())

    def _check(self) -> None:
        """What would otherwise mean everything, or a download, without a word."""
        if self.settings.targets is not None and not self.settings.targets:
            raise InputError(
                "an empty list of targets",
                where="configuration: targets",
                expected="names of tables and figures, or null for all of them",
                found="[]",
                remedy="`python -m benchmark list targets` shows the names",
            )
        for dataset in self.settings.roots:
            pick({name: name for name in available_datasets()}, dataset, "dataset", "configuration: roots")

    def _options(self) -> Iterator[str]:
        yield from ("--scale", self.settings.scale, "--paper-tables", self.settings.paper_tables)
        yield from self.own_options()
        if self.settings.scale == "pilot":
            yield from ("--share", f"{self.settings.share:g}")
        if self.settings.seeds:
            yield from ("--seeds", str(self.settings.seeds))
        if self.settings.variant:
            yield from ("--variant", self.settings.variant)

    def own_options(self) -> Iterator[str]:
        """The folders of one's own, for commands that need no more of the configuration than these."""
        for folder in self.settings.papers:
            yield from ("--papers", folder)

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
        """Our own predictions, or a folder of somebody else's."""
        return self.layout.predicted(wildcards.run)

    def predictions_folder(self, wildcards: Wildcards) -> str:
        return self.layout.predictions_of(wildcards.run)

    def handed_in_argument(self, wildcards: Wildcards) -> list[str]:
        return ["--handed-in"] if wildcards.run in self.layout.predictions else []

    def weights(self, wildcards: Wildcards) -> str:
        """Record of the weights that a run predicts with: its training's, or a released file's."""
        config = self.run(wildcards)
        if config.training_id is None:
            return self.layout.weights(config.model.initialisation)
        return self.layout.trained(config.training_id)

    def prompts(self, wildcards: Wildcards) -> list[str]:
        """The points that a run is told; none where its network is not asked by points."""
        config = self.run(wildcards)
        return [self.layout.prompts_for(config)] if config.inference.method == "prompted" else []

    def run_told(self, wildcards: Wildcards) -> str:
        """Any run that is told these points."""
        for target in self.catalog.targets.values():
            for run in self.ready_runs(target):
                config = self._run(run, self.settings.scale)
                kind = config.dataset, config.preparation_id, config.inference.method, config.inference.point
                if kind == (wildcards.dataset, wildcards.preparation, "prompted", wildcards.point):
                    return run
        raise InputError("no run is told these points", found=f"{wildcards.preparation}-{wildcards.point}")

    def store_told(self, wildcards: Wildcards) -> str:
        return self.layout.prepared_for(self._run(self.run_told(wildcards), self.settings.scale))

    def split_told(self, wildcards: Wildcards) -> str:
        return self.layout.split(wildcards.dataset)

    # What can run

    def ready_runs(self, target: Target) -> list[str]:
        """Runs to be scored that can run today; the table names the others as not attempted."""
        if target.target not in self._ready:  # asked thousands of times while the DAG is built
            rows = self.settings.rows.get(target.target)
            datasets = self.settings.datasets.get(target.target)
            wanted = [
                run
                for run in self.catalog.runs(target, scored=True, rows=rows)
                if datasets is None or self._run(run).dataset in datasets
            ]
            self._ready[target.target] = [run for run in wanted if self._is_ready(run)]
        return self._ready[target.target]

    def _is_ready(self, run: str) -> bool:
        """What was made elsewhere is there or not; everything else has to be able to run."""
        if run in self.layout.scores:
            return not self.layout.absent(run)
        config = self._run(run, self.settings.scale)
        if not self._has_data(config.dataset):
            return False
        if run in self.layout.predictions:
            return not self.layout.absent(run)
        if self.catalog.made_elsewhere(run):
            return False
        trainings = (self._run(name, self.settings.scale) for name in self.catalog.trainings(run, self.settings.scale))
        return all(self._has_data(store.dataset) for training in trainings for store in training.stores)

    def _has_data(self, dataset: str) -> bool:
        """Whether there is anything to begin with: in the demo a given folder or a phantom. At the papers' scale
        always: what can be neither downloaded nor found in `roots` stops at `fetch`, which says where to get it."""
        return not self.is_demo or whole_of(dataset) in self.roots or get_dataset(dataset).phantom

    @cached_property
    def roots(self) -> dict[str, str]:
        """Local folders of datasets: those that the configuration names, and those of datasets of one's own."""
        own = {name: get_dataset(name).folder for name in own_files("datasets", ".yaml")}
        return {**{name: folder for name, folder in own.items() if folder}, **self.settings.roots}

    # What a dataset reads

    def source_of(self, wildcards: Wildcards) -> str:
        return self.layout.source(wildcards.dataset)

    def verified_of(self, wildcards: Wildcards) -> str:
        return self.layout.verified(wildcards.dataset)

    def source_argument(self, wildcards: Wildcards) -> list[str]:
        """Where a dataset comes from: a configured folder, the phantom (demo) or a download (paper scale)."""
        if wildcards.dataset in self.roots:
            return ["--root", self.roots[wildcards.dataset]]
        return ["--phantom"] if self.is_demo else []

    def run_prepared_so(self, wildcards: Wildcards) -> str:
        """Any run or training that reads this store: those with the same preparation id prepare alike."""
        return self._prepared_by[wildcards.preparation]

    @cached_property
    def _prepared_by(self) -> dict[str, str]:
        """Prepared store → a run or training that reads it."""
        found: dict[str, str] = {}
        for target in self.catalog.targets.values():
            for run in self.ready_runs(target):
                for reader in (run, *self.catalog.trainings(run, self.settings.scale)):
                    config = self._run(reader, self.settings.scale)
                    for store in (config.store, *config.stores):
                        found.setdefault(store.id, reader)
        return found

    def store(self, wildcards: Wildcards) -> PreparedData:
        """The prepared store of the wildcards `dataset` and `preparation`."""
        config = self._run(self.run_prepared_so(wildcards), self.settings.scale)
        return next(store for store in (config.store, *config.stores) if store.id == wildcards.preparation)

    def run_of_protocol(self, wildcards: Wildcards) -> str:
        return self.any_run_of(wildcards.paper, wildcards.protocol)

    def any_run_of(self, paper: str, protocol: str) -> str:
        """Any run of a protocol: controls are scored by the protocol's settings and need no network."""
        wanted = f"{paper}/{protocol}/"
        runs = (run for target in self.catalog.targets.values() for run in self.ready_runs(target))
        return next(run for run in runs if run.startswith(wanted))

    def control_store(self, wildcards: Wildcards) -> str:
        return self.layout.prepared_for(self.catalog.run(self.run_of_protocol(wildcards), self.settings.scale))

    def control_split(self, wildcards: Wildcards) -> str:
        return self.layout.split(self.catalog.run(self.run_of_protocol(wildcards), self.settings.scale).dataset)

    def control_prompts(self, wildcards: Wildcards) -> str:
        run = self.run_of_protocol(wildcards)
        return self.layout.prompts_for(self.catalog.run(run, self.settings.scale))

    def control_folder(self, wildcards: Wildcards) -> str:
        return self.layout.controls_of(wildcards.paper, wildcards.protocol)
