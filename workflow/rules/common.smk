# Wiring only: the typed configuration and the catalog. What a rule asks of them is in benchmark/jobs/wiring.py, and
# how long it may run in benchmark/jobs/limits.py.
import sys

from benchmark.jobs.cluster import ask_once, check_sites
from benchmark.jobs.wiring import Wiring, set_job_environment
from benchmark.jobs.limits import TimeLimits
from benchmark.errors import InputError

set_job_environment()
try:
    wiring = Wiring(config)
    limits = TimeLimits(wiring)
except InputError as error:
    sys.exit(f"error: {error}")

RESULTS = wiring.layout.root
DEMO = wiring.is_demo


wildcard_constraints:
    dataset="[a-z0-9_]+",
    preparation="[0-9a-f]{16}",
    run=r"[\w.+-]+/[\w.+-]+/[\w.+-]+/seed\d+",
    target="|".join(wiring.catalog.targets),


onstart:
    # In a dry run there is no site to ask; jobs on the cluster run without hooks.
    if workflow.executor_plugin.name == "slurm":
        jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
        try:
            check_sites((job.name, job.resources) for job in jobs)
        except InputError as error:
            sys.exit(f"error: {error}")
        ask_once(sys.modules["snakemake_executor_plugin_slurm"], "get_min_job_age")
