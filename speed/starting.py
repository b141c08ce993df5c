"""What a command takes before it does its work: the catalog, and a `table` command from start to file.

    python speed/starting.py

Three things, each beside what it was made instead of: the settings of one run from its paper alone or from all papers,
which are held to each other as at the workflow's start; a yaml file by the parser in C or by the one in Python; and
`table` without any score, alone or after the libraries that are imported at their first use. Also printed: CPU seconds
of whole commands, start of Python included.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from benchmark.catalog.catalog import Catalog
from benchmark.files import load_yaml
from benchmark.scoring.conventions import BUILT_IN
from speed.table import ROOT, Ratio, least_in_turn, parse, write_ratios

RUN, TARGET = "swin_smt/totalseg/swin_smt-n32/seed0", "table1_totalseg"
FIRST_USE = ("scipy.stats", "pandas", "nibabel", "tifffile", "rich.progress")


def cpu_seconds(words: Sequence[str]) -> float:
    """User and system time of a Python process.

    Raises:
        CalledProcessError: it failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare_in_process(repeats: int) -> list[Ratio]:
    """The catalog of one paper and of all, and the two parsers, which have to read the same."""
    text, paper = BUILT_IN.read_text(encoding="utf-8"), RUN.split("/")[0]
    if load_yaml(text) != yaml.safe_load(text) or Catalog(only=paper).run(RUN) != Catalog().run(RUN):
        raise ValueError("two ways to read differ")
    least = least_in_turn(
        {
            "one": lambda: Catalog(only=paper).run(RUN),
            "all": lambda: Catalog().run(RUN),
            "C": lambda: load_yaml(text),
            "Python": lambda: yaml.safe_load(text),
        },
        repeats,
    )
    for name, seconds in least.items():
        print(f"{name:8} {1000 * seconds:8.1f} ms")
    return [
        Ratio("settings of one run", "all papers, checked", "CPU time", least["all"] / least["one"]),
        Ratio("yaml, 10 kB", "PyYAML's own parser", "CPU time", least["Python"] / least["C"]),
    ]


def compare_commands(repeats: int) -> list[Ratio]:
    """`table` from start to file, alone and after what it leaves to first use; other commands are printed only."""
    with tempfile.TemporaryDirectory() as folder:
        table = f'main(["table", "{TARGET}", "--results", "{folder}"])'
        commands = {
            "table": f"from benchmark.cli import main; {table}",
            "table, all imported": f"import {', '.join(FIRST_USE)}; from benchmark.cli import main; {table}",
            "explain": f'from benchmark.cli import main; main(["explain", "{TARGET}", "UNETR", "Organs"])',
            "settings of one run": f'from benchmark.catalog import *; load_catalog(only="swin_smt").run("{RUN}")',
            "list papers": 'from benchmark.cli import main; main(["list", "papers"])',
        }
        least = dict.fromkeys(commands, float("inf"))
        for _ in range(repeats):
            for name, code in commands.items():
                least[name] = min(least[name], cpu_seconds(["-c", code]))
    for name, seconds in least.items():
        print(f"{name:20} {seconds:6.2f} s of CPU time")
    against = "statistics and images imported at once"
    return [
        Ratio(
            "`table` without scores, start to file", against, "CPU time", least["table, all imported"] / least["table"]
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10, help="the fastest of so many counts")
    arguments = parse(parser, {"repeats": 3})
    write_ratios(arguments, [*compare_in_process(arguments.repeats), *compare_commands(arguments.repeats)])


if __name__ == "__main__":
    main()
