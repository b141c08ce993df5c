"""`cd tests; python -m dag.update`: expected.yaml anew after a network, dataset or target has landed; read the diff."""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml
from helpers.dry_run import COMMANDS, EXPECTED, counts, make_clone, planned_jobs

from benchmark.catalog import load_catalog

HEADER = "# Jobs that dry runs plan, by rule and by target. Written by `cd tests; python -m dag.update`.\n"

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        clone = make_clone(Path(folder))
        commands = {name: counts(command, clone) for name, command in COMMANDS.items()}
    content = {"commands": commands, "jobs of a target": planned_jobs(load_catalog())}
    EXPECTED.write_text(HEADER + yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    for name, found in commands.items():
        print(f"{sum(found.values()):5d} jobs: {COMMANDS[name]}")
