"""Folders of label maps of 512 × 512 × 100 with 15 classes: time and memory here, beside nnunetv2's own evaluation.

    python speed/evaluate.py [--cases 4] [--processes 2] [--panoptica PYTHON]

One run, one set of generated files (.nii.gz): ellipsoids, and a copy moved by a few voxels. Compared are whole
evaluations from folder to file: Dice and IoU of every class with nnunetv2's `compute_metrics_on_folder`, whose values
must be ours, and with panoptica, which needs an environment of its own. Ours with surface metrics is measured beside it
(speed/scoring.py compares these). An evaluation of one tiny case, which is starting processes and little else, is taken
off. What is printed for 1,000 cases is that per case times 1,000, and says so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmark.scoring.aggregate import read_scores
from benchmark.scoring.conventions import get_convention
from benchmark.scoring.folders import score_folders
from benchmark.scoring.images import Geometry, write_labels
from benchmark.scoring.pairs import pair_cases
from speed.folder_cost import Means, Method, measure
from speed.machine import processor
from speed.table import ONE_THREAD, Ratio, parse, write_ratios

SHAPE, CLASSES, SPACING = (512, 512, 100), 15, (0.8, 0.8, 3.0)
SCALED_TO = 1000


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


METHODS: dict[str, Method] = {
    "nnunetv2": nnunetv2,
    "ours": ours,
    "ours, dsc, nsd and hd95": ours_with_surfaces,
}


def cell(method: str, folder: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What `measure` finds in a process of its own; panoptica's with the Python that was named."""
    words = [sys.executable, __file__, *sys.argv[1:], "--cell", method, folder]
    if method == "panoptica":
        script = str(Path(__file__).with_name("panoptica_folder.py"))
        counts = ["--processes", str(arguments.processes), "--classes", str(CLASSES)]
        words = [arguments.panoptica, script, folder, *counts]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD)
    return json.loads(done.stdout.splitlines()[-1])


def line(method: str, found: dict[str, Any], arguments: argparse.Namespace) -> str:
    each, cpu = found["seconds"] / arguments.cases, found["cpu_seconds"] / arguments.cases
    hours = cpu * SCALED_TO / arguments.processes / 3600
    return (
        f"{method:24} {each:6.2f} s a case, {cpu:.2f} s CPU; {SCALED_TO:,} cases: {hours:.2f} h if "
        f"{arguments.processes} cores do nothing else; {found['bytes'] / 2**20:.0f} MiB at most in one process"
    )


def ratios(other: str, theirs: dict[str, Any], mine: dict[str, Any], measured: str) -> list[Ratio]:
    """Theirs to ours; ends the script where the values differ."""
    if any(abs(theirs["means"][metric] - mine["means"][metric]) > 1e-9 for metric in ("dsc", "iou")):
        raise SystemExit(f"the values differ, so times cannot be compared: {theirs['means']} and {mine['means']}")
    kinds = {"CPU time": "cpu_seconds", "time": "seconds", "memory": "bytes"}
    found = [Ratio(measured, other, kind, theirs[key] / mine[key]) for kind, key in kinds.items()]
    print(f"{other}: " + ", ".join(f"{one.what} {one.ratio:.2f}" for one in found))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--panoptica", metavar="PYTHON", help="the Python of an environment that has panoptica")
    parser.add_argument("--cell", nargs=2, metavar=("METHOD", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parse(parser, small={"cases": 2})
    if arguments.cell:
        method, folder = arguments.cell
        print(json.dumps(measure(METHODS[method], Path(folder), arguments.processes)))
        return
    cases = arguments.cases
    size = f"{' × '.join(map(str, SHAPE))}, {CLASSES} classes"
    print(f"{processor()}, load average {os.getloadavg()[0]:.1f}; {arguments.processes} processes")
    print(f"{cases} cases of {size} measured; {SCALED_TO:,} cases are {SCALED_TO / cases:.0f} times that")
    cells = {}
    with tempfile.TemporaryDirectory() as folder:
        write_case(Path(folder) / "tiny", "tiny", (32, 32, 16), 0)
        for number in range(cases):
            write_case(Path(folder) / "cases", f"case{number}", SHAPE, number)
        for method in [*METHODS, *(["panoptica"] if arguments.panoptica else [])]:
            cells[method] = cell(method, folder, arguments)
            print(line(method, cells[method], arguments), flush=True)
    measured = f"dsc and iou of a folder, {cases} cases of {size}, {arguments.processes} processes"
    others = {"nnunetv2": "nnunetv2 evaluate", "panoptica": "panoptica"}
    compared = [ratios(others[name], cells[name], cells["ours"], measured) for name in others if name in cells]
    write_ratios(arguments, [one for ratios_of_one in compared for one in ratios_of_one])


if __name__ == "__main__":
    main()
