"""After a kill between a job's last file and Snakemake's note of it, the file counts and all behind it is run."""

from __future__ import annotations

import base64
from pathlib import Path

from helpers.clone import snakemake
from helpers.dry_run import make_clone

COST, TABLE = "results/demo/cost/table1_design.csv", "results/demo/table1_design.csv"


def test_what_is_whole_is_kept_and_the_rest_goes_on(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    done = snakemake(clone, "--profile", "demo", COST)
    assert done.returncode == 0, done.stderr[-2000:]
    begun = clone / ".snakemake/incomplete" / base64.b64encode(COST.encode()).decode()
    begun.parent.mkdir(exist_ok=True)
    begun.touch()  # as Snakemake marks a job that it has not seen ending
    plan = snakemake(clone, "--profile", "demo", "-n", "--quiet", "rules", "--", TABLE)
    assert plan.returncode == 0 and "build_table" in plan.stdout and "count_cost" not in plan.stdout, plan.stdout
