# Wiring only: the typed configuration and the catalog. What a rule asks of them is in benchmark/jobs: runs and datasets in
# wiring.py, trainings, products, what has changed since a result was made, and how long a job may run beside it.
import sys

from benchmark.errors import InputError
from benchmark.forced import mark_forced
from benchmark.jobs.changes import Changes
from benchmark.jobs.cluster import ask_once, check_sites
from benchmark.jobs.limits import TimeLimits
from benchmark.jobs.products import Products
from benchmark.jobs.trainings import TrainingJobs
from benchmark.jobs.wiring import Wiring, set_job_environment

try:
    wiring = Wiring(config)
    set_job_environment(strict=wiring.settings.strict)
    trainings, products = TrainingJobs(wiring), Products(wiring)
    limits = TimeLimits(wiring)
    changes = Changes(wiring, products, lambda: workflow.dag_settings, ancient)
except InputError as error:
    sys.exit(f"error: {error}")

RESULTS = wiring.layout.root
DEMO = wiring.is_demo
kept = changes.kept
# Words of the commands themselves, and no params: a path that is spelt otherwise is no change. Every field of a shell
# line ends in `:q`, which quotes each word for the shell; `:u` is for what is a piece of a command.
WEIGHTS = wiring.settings.weights
PAPER_TABLES = wiring.settings.paper_tables
OPTIONS = wiring.options
TRAIN_OPTIONS = trainings.options


wildcard_constraints:
    dataset="[a-z0-9_]+",
    preparation="[0-9a-f]{16}",
    run=r"[\w.+-]+/[\w.+-]+/[\w.+-]+/seed\d+",
    target="|".join(wiring.catalog.targets),
    weights=r"[\w.+-]+",


onstart:
    mark_forced(workflow.dag.needrun_jobs(), changes.is_forced)
    # In a dry run there is no site to ask; jobs on the cluster run without hooks.
    if workflow.executor_plugin.name == "slurm":
        jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
        try:
            check_sites((job.name, job.resources) for job in jobs)
        except InputError as error:
            sys.exit(f"error: {error}")
        ask_once(sys.modules["snakemake_executor_plugin_slurm"], "get_min_job_age")
