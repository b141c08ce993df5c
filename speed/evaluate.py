"""Folders of label maps of 512 × 512 × 100 with 15 classes: time and memory here, beside nnunetv2's own evaluation.

    python speed/evaluate.py [--cases 4] [--processes 2]

One run, one set of generated files (.nii.gz): ellipsoids, and a copy moved by a few voxels. Compared are whole
evaluations from folder to file: Dice and IoU of every class with nnunetv2's `compute_metrics_on_folder`, whose values
must be ours. Ours with surface metrics is measured beside it (speed/scoring.py compares these). An evaluation of one
tiny case, which is starting processes and little else, is taken off. What is printed for 1,000 cases is that per case
times 1,000, and says so.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmark.scoring.aggregate import read_scores
from benchmark.scoring.conventions import get_convention
from benchmark.scoring.folders import pair_cases, score_folders
from benchmark.scoring.images import Geometry, write_labels
from speed.machine import processor
from speed.table import ONE_THREAD, Ratio, parse, write_ratios

SHAPE, CLASSES, SPACING = (512, 512, 100), 15, (0.8, 0.8, 3.0)
SCALED_TO = 1000
Means = dict[str, float]


def write_case(folder: Path, name: str, shape: Sequence[int], seed: int) -> None:
    """A reference with 15 ellipsoids in a body, and a prediction moved by three voxels."""
    random, labels = np.random.default_rng(seed), np.zeros(shape, np.uint8)
    for value in range(1, CLASSES + 1):
        middle = np.array(shape) * random.uniform(0.3, 0.7, 3)
        radii = np.array(shape) * random.uniform(0.03, 0.16, 3)
        first = np.maximum(middle - radii, 0).astype(int)
        last = np.minimum(middle + radii + 2, shape).astype(int)
        window = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        inside = sum(((axis - m) / r) ** 2 for axis, m, r in zip(np.ogrid[window], middle, radii, strict=True)) <= 1
        labels[window][inside] = value
    grid = Geometry(labels.shape, SPACING, np.diag((*SPACING, 1.0)))
    for side, array in (("reference", labels), ("prediction", np.roll(labels, 3, axis=0))):
        (folder / side).mkdir(parents=True, exist_ok=True)
        write_labels(folder / side / f"{name}.nii.gz", array, geometry=grid)


def ours(folder: Path, processes: int, metrics: Sequence[str] = ("dsc", "iou"), convention: str = "nnunet") -> Means:
    """Mean of each metric over all cases and classes."""
    out = folder / "scores.parquet"
    score_folders(
        pair_cases(folder / "reference", folder / "prediction"), out, run="speed", processes=processes,
        labels={value: f"class{value}" for value in range(1, CLASSES + 1)},
        conventions=[get_convention(convention)], metrics=list(metrics),
    )  # fmt: skip
    scores = read_scores(out)
    return {metric: float(np.nanmean(scores.loc[scores["metric"] == metric, "value"])) for metric in metrics}


def ours_with_surfaces(folder: Path, processes: int) -> Means:
    return ours(folder, processes, ("dsc", "nsd", "hd95"), "canonical")


def nnunetv2(folder: Path, processes: int) -> Means:
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    sides = [str(folder / side) for side in ("reference", "prediction")]
    found = compute_metrics_on_folder(
        *sides, str(folder / "summary.json"), SimpleITKIO(), ".nii.gz", list(range(1, CLASSES + 1)),
        num_processes=processes,
    )  # fmt: skip
    return {"dsc": found["foreground_mean"]["Dice"], "iou": found["foreground_mean"]["IoU"]}


METHODS: dict[str, Callable[[Path, int], Means]] = {
    "nnunetv2": nnunetv2,
    "ours": ours,
    "ours, dsc, nsd and hd95": ours_with_surfaces,
}


def measure(method: str, folder: Path, processes: int) -> dict[str, Any]:
    """Seconds and CPU seconds of all processes, less those of a tiny case; the largest peak memory of one process."""
    spent = {}
    for part in ("tiny", "tiny", "cases"):  # the first compiles and fills caches
        start, cpu = time.perf_counter(), cpu_seconds()
        means = METHODS[method](folder / part, processes)
        spent[part] = np.array([time.perf_counter() - start, cpu_seconds() - cpu])
    seconds, cpu_time = np.maximum(spent["cases"] - spent["tiny"], 1e-3)
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"seconds": seconds, "cpu_seconds": cpu_time, "bytes": peak * 1024, "means": means}


def cpu_seconds() -> float:
    """Of this process and of its children that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--cell", nargs=2, metavar=("METHOD", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parse(parser, small={"cases": 2})
    if arguments.cell:
        print(json.dumps(measure(arguments.cell[0], Path(arguments.cell[1]), arguments.processes)))
        return
    cases, cells = arguments.cases, {}
    size = f"{' × '.join(map(str, SHAPE))}, {CLASSES} classes"
    print(f"{processor()}, load average {os.getloadavg()[0]:.1f}; {arguments.processes} processes")
    print(f"{cases} cases of {size} measured; {SCALED_TO:,} cases are {SCALED_TO / cases:.0f} times that")
    with tempfile.TemporaryDirectory() as folder:
        write_case(Path(folder) / "tiny", "tiny", (32, 32, 16), 0)
        for number in range(cases):
            write_case(Path(folder) / "cases", f"case{number}", SHAPE, number)
        for method in METHODS:
            command = [sys.executable, __file__, *sys.argv[1:], "--cell", method, folder]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | ONE_THREAD)
            cells[method] = cell = json.loads(done.stdout.splitlines()[-1])
            each, cpu = cell["seconds"] / cases, cell["cpu_seconds"] / cases
            hours = cpu * SCALED_TO / arguments.processes / 3600
            print(
                f"{method:24} {each:6.2f} s a case, {cpu:.2f} s CPU; {SCALED_TO:,} cases: {hours:.2f} h if "
                f"{arguments.processes} cores do nothing else; {cell['bytes'] / 2**20:.0f} MiB at most in one process",
                flush=True,
            )
    theirs, mine = cells["nnunetv2"], cells["ours"]
    if any(abs(theirs["means"][metric] - mine["means"][metric]) > 1e-9 for metric in ("dsc", "iou")):
        raise SystemExit(f"the values differ, so times cannot be compared: {theirs['means']} and {mine['means']}")
    measured = f"dsc and iou of a folder, {cases} cases of {size}, {arguments.processes} processes"
    kinds = {"CPU time": "cpu_seconds", "time": "seconds", "memory": "bytes"}
    ratios = [Ratio(measured, "nnunetv2 evaluate", kind, theirs[key] / mine[key]) for kind, key in kinds.items()]
    print(", ".join(f"{one.what} {one.ratio:.2f}" for one in ratios))
    write_ratios(arguments, ratios)


if __name__ == "__main__":
    main()
