"""Dry runs of a clone: the literal commands a user types, and how many jobs of each rule they plan."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from benchmark.catalog.catalog import Catalog
from benchmark.cost.planner import Planner

REPOSITORY = Path(__file__).resolve().parents[2]
EXPECTED = Path(__file__).parents[1] / "dag" / "expected.yaml"
COMMANDS = {
    "one table on a cluster": "snakemake --profile slurm -n results/table1_totalseg.csv",
    "everything at the paper's scale": "snakemake -n",
    "everything in the demo": "snakemake --profile demo -n",
    "a figure of receptive fields": "snakemake -n results/fig7_receptive_field.svg",
    "a figure that draws tables": "snakemake -n results/fig1_score_vs_flops.svg",
    "a table of networks that are told points": "snakemake -n results/table1_sam_comparison.csv",
    "the three pages of two targets": "snakemake -n results/audit.md results/budget.md "
    "results/coverage.md --config targets=[table1_totalseg,table2_experts]",
}
# One row handed in, one whose folder is missing: neither is trained; the others are, or with start_from are not.
HANDED_IN = 'results/table1_totalseg.csv --config predictions={"table1_totalseg":{"UNETR":"docs","nnU-Net":"nowhere"}}'
COMMANDS |= {
    "a row made elsewhere": f"snakemake -n {HANDED_IN}",
    "nothing but a row made elsewhere": f"snakemake -n {HANDED_IN} start_from=predictions",
}


COMPILED = (".pyc", ".nbi", ".nbc")  # by Python and by numba, each beside its source's time


def make_clone(folder: Path) -> Path:
    """What git knows of the working tree, copied: a file that was forgotten in a commit is missing there as well.

    What was compiled of it comes along and is taken, as the copies have their sources' times."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        source = REPOSITORY / name
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():  # benchmark/paper_tables
            (folder / name).symlink_to(source.readlink())
        elif source.is_file():
            shutil.copy2(source, folder / name)
    for source in (REPOSITORY / "benchmark").rglob("__pycache__/*"):
        if source.suffix in COMPILED:  # others are being written
            copy = folder / source.relative_to(REPOSITORY)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)
    return folder


def run(command: str | list[str], clone: Path) -> subprocess.CompletedProcess[str]:
    """A command typed in the clone's root (as words, where one has spaces), with this Python's snakemake and the
    clone's own package."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(clone),
        "XDG_CACHE_HOME": str(clone / ".cache"),
    }
    words = command.split() if isinstance(command, str) else command
    return subprocess.run(words, cwd=clone, env=environment, capture_output=True, text=True)


def job_counts(output: str) -> dict[str, int]:
    """Rule → jobs, from the first table of job statistics that Snakemake prints."""
    table = re.search(r"^job +count\n-+ +-+\n(?P<rows>.*?)^total", output, flags=re.DOTALL | re.MULTILINE)
    if table is None:
        raise ValueError(f"no job statistics in:\n{output[-2000:]}")
    rows = (line.split() for line in table["rows"].splitlines())
    return {rule: int(count) for rule, count in sorted(rows)}


def counts(command: str, clone: Path) -> dict[str, int]:
    """Jobs per rule of a dry run. Raises ValueError if it fails."""
    done = run(command, clone)
    if done.returncode != 0:
        raise ValueError(f"{command} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return job_counts(done.stdout + done.stderr)


def planned_jobs(catalog: Catalog) -> dict[str, int]:
    """Target → jobs of a dry run of its table or figure, as `python -m benchmark plan` tells them."""
    planner = Planner(catalog)
    return {name: planner.totals([name]).jobs for name in catalog.targets}


def expected() -> dict:
    return yaml.safe_load(EXPECTED.read_text(encoding="utf-8"))
