# Wiring only: the typed configuration and the catalog. What a rule asks of them is in benchmark/jobs: runs and datasets in
# wiring.py, trainings, products, what has changed since a result was made, and how long a job may run beside it.
import sys
from pathlib import Path

from snakemake.dag import DAG

from benchmark import fork_server
from benchmark.errors import InputError
from benchmark.files import check_writable
from benchmark.forced import mark_forced
from benchmark.jobs.changes import Changes, pass_over, take_as_whole
from benchmark.jobs.cluster import ask_once, name_states_alone, tell_also
from benchmark.jobs.limits import TimeLimits
from benchmark.jobs.products import Products
from benchmark.jobs.progress import show_progress
from benchmark.jobs.retries import stop_at_wrong_input
from benchmark.jobs.site import Request, check_sites, submitted
from benchmark.jobs.trainings import TrainingJobs
from benchmark.jobs.wakeups import wake_once
from benchmark.jobs.wiring import Wiring, set_job_environment, told

try:
    wiring = Wiring(config)
    set_job_environment(strict=wiring.settings.strict)
    trainings, products = TrainingJobs(wiring), Products(wiring)
    limits = TimeLimits(wiring)
    products.check_asked(sys.argv[1:])
    changes = Changes(wiring, products, lambda: workflow.dag_settings, ancient)
except InputError as error:
    sys.exit(f"error: {error}")


if wiring.settings.progress:
    show_progress(logger)

DAG.check_incomplete = take_as_whole
DAG.check_output_mtime = pass_over  # times of files decide nothing here (changes.py)

RESULTS = wiring.layout.root
DEMO = wiring.is_demo
kept = changes.kept
# Every field of a shell line ends in `:q`, which quotes each word for the shell; `:u` is for what is a piece of a command.
OPTIONS, TRAIN_OPTIONS = wiring.options, trainings.options
OWN = list(wiring.own_options())
VARIANT = ["--variant", wiring.settings.variant] if wiring.settings.variant else []
WEIGHTS, PAPER_TABLES = wiring.settings.weights, wiring.settings.paper_tables
UNIT = wiring.settings.significance_unit


container: wiring.settings.container  # in use with --sdm apptainer only


wildcard_constraints:
    dataset=r"[a-z0-9_]+(?:\.fold\d+)?",
    preparation="[0-9a-f]{16}",
    run=r"[\w.+-]+/[\w.+-]+/[\w.+-]+/seed\d+",
    target="|".join(wiring.catalog.targets),
    weights=r"[\w.+-]+",


stop_at_wrong_input(sys.modules["snakemake.jobs"].Job)
wake_once(sys.modules["snakemake.scheduling.job_scheduler"].JobScheduler)


fork_servers = []  # held: one lives as long as its entry here


onstart:
    try:
        check_writable(Path(RESULTS))
    except InputError as error:
        sys.exit(f"error: {error}")
    mark_forced(workflow.dag.needrun_jobs(), changes.is_forced)
    if (
        DEMO
        and workflow.executor_plugin.name == "local"
        and not workflow.deployment_settings.deployment_method
    ):
        fork_servers.append(fork_server.start(f"{RESULTS}/logs/jobs.tsv"))
    # In a dry run there is no site to ask; jobs on the cluster run without hooks.
    if workflow.executor_plugin.name == "slurm":
        plugin = sys.modules["snakemake_executor_plugin_slurm"]
        tell_also(plugin, trainings.submit_options)
        name_states_alone(plugin)
        jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
        try:
            check_sites(
                Request.of(
                    job.name,
                    submitted(plugin, job, workflow.executor_settings),
                    job.resources,
                )
                for job in jobs
            )
        except InputError as error:
            sys.exit(f"error: {error}")
        ask_once(plugin, "get_min_job_age")
