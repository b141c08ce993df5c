# Wiring only: typed configuration, catalog, and the functions that rules use for inputs. Logic lives in benchmark/.
import sys
from pathlib import Path

from benchmark.catalog import load_catalog
from benchmark.catalog.configuration import workflow_config
from benchmark.errors import InputError

try:
    SETTINGS = workflow_config(config)
    CATALOG = load_catalog(SETTINGS.paper_tables)
    TARGETS = [CATALOG.target(name) for name in SETTINGS.targets or CATALOG.targets]
except InputError as error:
    sys.exit(f"error: {error}")

LAYOUT = SETTINGS.layout()
RESULTS = LAYOUT.root
BENCHMARK = f"{sys.executable} -m benchmark"
COMMON = f"--scale {SETTINGS.scale} --paper-tables {SETTINGS.paper_tables}"


wildcard_constraints:
    dataset="[a-z0-9_]+",
    preparation="[0-9a-f]{16}",
    run=r"[\w.+-]+/[\w.+-]+/[\w.+-]+/seed\d+",
    target="|".join(CATALOG.targets),


def run_of(wildcards):
    """The settings of the run that a job's wildcards name."""
    return CATALOG.run(wildcards.run, SETTINGS.scale)


def prepared_of(wildcards):
    return LAYOUT.prepared_for(run_of(wildcards))


def split_of(wildcards):
    return LAYOUT.split(run_of(wildcards).dataset)


def source_of(wildcards):
    return LAYOUT.source(run_of(wildcards).dataset)


def target_of(wildcards):
    return CATALOG.target(wildcards.target)


def runs_of(target):
    """Runs of a target that can run today; the table names the others as not attempted."""
    return [run for run in CATALOG.runs(target) if CATALOG.pending(run) is None]


def scores_of(wildcards):
    return [LAYOUT.scored(run) for run in runs_of(target_of(wildcards))]


def published_files(targets):
    return [
        path
        for target in targets
        for path in (LAYOUT.table(target.target) if target.kind == "table" else LAYOUT.figure(target.target))
    ]
