"""What large catalogues cost before anything runs: time and memory of the DAG, and jobs sent to SLURM.

    python speed/catalogue.py [RUNS …]        default: 100 1000 10000

For each number of runs a folder of papers is generated (a hundred networks, one protocol and one table to a paper, each
network counted, so that every run has an estimate), and `snakemake --profile slurm -n` is measured on it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from speed.table import Ratio, parse, write_ratios

ROOT = Path(__file__).resolve().parents[1]
RUNS_PER_PAPER = 100
PROTOCOL = """
generated:
  dataset: totalseg
  convention: {value: swin_smt, assumed: generated}
  preparation: {}
  training:
    patch: {value: [128, 128, 128], assumed: generated}
    batch: {value: 8, assumed: generated}
    epochs: {value: 1000, assumed: generated}
    devices: {value: 8, assumed: generated}
    optimiser:
      name: {value: adamw, assumed: generated}
      learning_rate: {value: 1.0e-4, assumed: generated}
    schedule:
      name: {value: constant, assumed: generated}
  inference: {}
"""


def local_rules() -> set[str]:
    """Rules that run where Snakemake does, from the `localrules:` of the workflow."""
    texts = [path.read_text() for path in (ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk"))]
    blocks = [block for text in texts for block in re.findall(r"^localrules:\n((?: +\w+,\n)+)", text, re.MULTILINE)]
    return {name for block in blocks for name in re.findall(r"\w+", block)}


def sent_per_minute() -> int:
    """What slurm/config.yaml allows."""
    allowed = yaml.safe_load((ROOT / "slurm/config.yaml").read_text())["max-jobs-per-timespan"]
    return int(re.fullmatch(r"(\d+)/1m", allowed)[1])


@dataclass(frozen=True)
class DryRun:
    """What one dry run took, and what it would start."""

    runs: int
    seconds: float
    megabytes: float
    jobs: int
    sent: int


def write_catalogue(folder: Path, runs: int) -> None:
    """Papers with together `runs` runs."""
    shutil.copy(ROOT / "paper_tables/datasets.yaml", folder)
    for first in range(0, runs, RUNS_PER_PAPER):
        name = f"generated{first // RUNS_PER_PAPER:04d}"
        models = [f"network{number}" for number in range(first, min(first + RUNS_PER_PAPER, runs))]
        paper = folder / name
        (paper / "measured").mkdir(parents=True)
        facts = {"paper": name, "title": "Generated", "authors": ["nobody"], "venue": "none", "year": 2026}
        (paper / "paper.yaml").write_text(yaml.safe_dump(facts))
        (paper / "protocols.yaml").write_text(PROTOCOL)
        network = {"model": "nnunet", "options": {"value": {"base_features": 32}, "assumed": "generated"}}
        (paper / "models.yaml").write_text(yaml.safe_dump({model: network for model in models}))
        table = {
            "kind": "table", "number": "Table 1", "title": name, "caption": name, "protocol": "generated",
            "rows": {model: {"model": model} for model in models},
            "columns": {"DSC": {"measure": "score", "metric": "dsc", "unit": "%", "decimals": 2}},
        }  # fmt: skip
        (paper / f"table_{name}.yaml").write_text(yaml.safe_dump(table))
        counted = [f"{name}/generated/{model}/seed0,30000000,1000000000000" for model in models]
        (paper / "measured/flops.csv").write_text("\n".join(["run,parameters,flops_complete", *counted, ""]))


def dry_run(runs: int, folder: Path) -> DryRun:
    """Plan the whole catalogue in `folder`, with the profile that a cluster gets.

    Raises:
        RuntimeError: the dry run failed; its last words.
    """
    write_catalogue(folder, runs)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--profile", str(ROOT / "slurm"), "--dry-run", "--config", f"paper_tables={folder}"]
    output = folder / "output.txt"
    with output.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=folder
        )
        _, status, used = os.wait4(process.pid, 0)
    text = output.read_text()
    if status:
        raise RuntimeError(text[-2000:])
    table = re.search(r"^job +count\n-+ +-+\n(?P<rows>.*?)^total +(?P<total>\d+)", text, re.DOTALL | re.MULTILINE)
    jobs = {rule: int(count) for rule, count in (line.split() for line in table["rows"].splitlines())}
    return DryRun(
        runs=runs,
        seconds=used.ru_utime + used.ru_stime,
        megabytes=used.ru_maxrss / 1024,
        jobs=int(table["total"]),
        sent=sum(count for rule, count in jobs.items() if rule not in local_rules()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=int, nargs="*", default=[100, 1000, 10000])
    print("| runs | jobs | CPU time | memory | sent to SLURM | all sent after |\n|---|---|---|---|---|---|")
    arguments, measured = parse(parser, small={"runs": [10, 100]}), []
    for runs in arguments.runs:
        with tempfile.TemporaryDirectory() as folder:
            one = dry_run(runs, Path(folder))
        measured.append(one)
        hours = one.sent / sent_per_minute() / 60
        dag = f"{one.jobs:,} | {one.seconds:.1f} s | {one.megabytes:.0f} MB"
        print(f"| {one.runs:,} | {dag} | {one.sent:,} | {hours:.1f} h |", flush=True)
    few, many = measured[0], measured[-1]
    name, against = f"planning {many.runs:,} runs (snakemake -n)", f"planning {few.runs:,} runs"
    kinds = (("CPU time", few.seconds / many.seconds), ("memory", few.megabytes / many.megabytes))
    write_ratios(arguments, [Ratio(name, against, what, ratio) for what, ratio in kinds])


if __name__ == "__main__":
    main()
