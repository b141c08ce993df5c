"""`make speed`: every script of this folder in small form, and its ratios as one table in docs/speed.md.

    python speed/table.py [SCRIPT …] [--docs docs/speed.md]

What the scripts share: `--small` chooses sizes that take seconds, `--ratios FILE` also writes what was compared as
JSON, which this script collects. A ratio is that of what we compare with to ours, measured in one run on one machine:
above 1, ours is quicker or smaller. A script that compares no time or memory (a picture, scores) writes no ratio; that
it ran is said. With names of scripts only their rows of the document are replaced; a table then has rows of several
commits, so it is for trying out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark.files import write_text
from speed.machine import processor

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "speed"
DOCUMENT = ROOT / "docs/speed.md"
NO_SCRIPTS = ("table", "machine", "gpu_parts", "slab_wise", "folder_cost", "panoptica_folder")  # what the scripts share
BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"
HEADER = "| script | measured | compared with | what | ratio |\n|---|---|---|---|---:|"
LIMIT = 300.0
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
GUARDED = ("objective", "selective_scan")  # the two cheapest with an oracle; tests/speed/test_guard.py runs them
SHARE = 0.5


@dataclass(frozen=True)
class Ratio:
    """One comparison.

    Attributes:
        measured: ours, with its size.
        against: what it is compared with.
        what: `time`, `CPU time`, `memory`, or another amount of which less is better.
        ratio: the amount of `against` over ours.
        script: stem of the file that measured it; set where it is collected.
    """

    measured: str
    against: str
    what: str
    ratio: float
    script: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.script, self.measured, self.against, self.what


def parse(parser: argparse.ArgumentParser, small: Mapping[str, object]) -> argparse.Namespace:
    """The arguments of a script; with `--small`, `small` replaces the defaults of what the command line leaves out."""
    parser.add_argument("--small", action="store_true", help="a form that takes seconds, as `make speed` runs it")
    parser.add_argument("--ratios", type=Path, help="JSON file for what was compared")
    if parser.parse_known_args()[0].small:
        parser.set_defaults(**small)
    return parser.parse_args()


def write_ratios(arguments: argparse.Namespace, ratios: Iterable[Ratio]) -> None:
    """Leave the ratios where `--ratios` asks for them."""
    if arguments.ratios:
        write_text(arguments.ratios, json.dumps([asdict(one) for one in ratios], indent=1))


def least_in_turn(
    functions: Mapping[str, Callable[[], object]], repeats: int, *, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Seconds of the fastest call of each function. They take turns, so that what else the machine does meets all.

    The default clock is this process's CPU time over all its threads, which other processes disturb least.
    """
    least = dict.fromkeys(functions, float("inf"))
    for _ in range(repeats):
        for name, function in functions.items():
            start = clock()
            function()
            least[name] = min(least[name], clock() - start)
    return least


def run_small(script: str, limit: float = LIMIT) -> list[Ratio]:
    """Run a script in small form, one thread, in a process of its own; its ratios.

    Raises:
        RuntimeError: it failed, with its last line, or took more than `limit` seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "ratios.json"
        command = [sys.executable, str(FOLDER / f"{script}.py"), "--small", "--ratios", str(out)]
        environment = os.environ | ONE_THREAD | {"PYTHONPATH": str(ROOT)}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=limit, env=environment, cwd=ROOT, check=False
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"not finished in {limit:.0f} s") from None
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
        return [replace(Ratio(**one), script=script) for one in json.loads(out.read_text(encoding="utf-8"))]


def shown(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}"


def table_text(ratios: Sequence[Ratio]) -> str:
    rows = [f"| {one.script} | {one.measured} | {one.against} | {one.what} | {shown(one.ratio)} |" for one in ratios]
    return "\n".join([HEADER, *rows])


def read_table(text: str) -> list[Ratio]:
    """The ratios that a document states between its markers."""
    _, _, rest = text.partition(BEGIN)
    lines = [line.strip("| ").split(" | ") for line in rest.partition(END)[0].splitlines() if line.startswith("| ")]
    return [Ratio(*cells[1:4], float(cells[4]), cells[0]) for cells in lines[1:]]


def fallen(now: Iterable[Ratio], stated: Iterable[Ratio], share: float = SHARE) -> list[str]:
    """What is now below `share` of the stated ratio, or stated no more, in words; empty if all is well."""
    found = {one.key: one.ratio for one in now}
    messages = []
    for one in stated:
        name = f"{one.script}: {one.measured}, {one.what}, against {one.against}"
        if one.key not in found:
            messages.append(f"{name}: not measured; run `make speed`")
        elif found[one.key] < share * one.ratio:
            messages.append(f"{name}: {shown(found[one.key])}, less than {share} of {shown(one.ratio)}")
    return messages


def best(first: Iterable[Ratio], second: Iterable[Ratio]) -> list[Ratio]:
    """The better of two runs of the same comparisons."""
    chosen: dict[tuple[str, ...], Ratio] = {}
    for one in (*first, *second):
        if one.key not in chosen or one.ratio > chosen[one.key].ratio:
            chosen[one.key] = one
    return list(chosen.values())


def commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=, with changes"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def circumstances() -> str:
    """One sentence: when, which commit, which machine, how busy."""
    load, cpus = os.getloadavg()[0], len(os.sched_getaffinity(0))
    busy = "a busy machine" if load > cpus / 2 else "nothing much else running"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit()}, {processor()}, {cpus} CPUs, one thread per process; "
        f"load average {load:.1f} at the start: {busy}."
    )


def main() -> int:
    scripts = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NO_SCRIPTS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help="default: all; " + ", ".join(scripts))
    parser.add_argument("--docs", type=Path, default=DOCUMENT, help="document whose marked part is replaced")
    arguments = parser.parse_args()
    chosen = arguments.scripts or scripts
    if unknown := sorted(set(chosen) - set(scripts)):
        parser.error(f"no script {', '.join(unknown)}; one of {', '.join(scripts)}")
    text = arguments.docs.read_text(encoding="utf-8")
    ratios, notes = [one for one in read_table(text) if one.script not in chosen], []
    made_on, failed = circumstances(), False
    for script in chosen:
        start = time.perf_counter()
        try:
            found = run_small(script)
            ended = f"{len(found)} ratios" if found else "ran; it compares no time or memory"
        except RuntimeError as error:
            found, ended, failed = [], f"not run ({error})", True
        ratios += found
        notes += [] if found else [f"- `{script}.py`: {ended}"]
        print(f"{script:20} {time.perf_counter() - start:6.1f} s  {ended}", flush=True)
    ratios.sort(key=lambda one: one.script)
    before, _, rest = text.partition(BEGIN)
    parts = [made_on, "", table_text(ratios), "", *notes]
    write_text(arguments.docs, before + "\n".join([BEGIN, "", *parts, "", END]) + rest.partition(END)[2])
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
