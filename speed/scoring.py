"""Speed and memory of scoring: Dice, surface Dice and HD95 of every class of a 117-class volume, three ways.

    OMP_NUM_THREADS=1 python speed/scoring.py [--classes-for-oracles 117] [--processes 1 2]

One generated volume of 300 × 300 × 422 voxels at 1.5 mm and a smoothly displaced copy of it. On one core: Retable with
surface elements against google-deepmind/surface-distance, Retable with voxel edges against MONAI, each pair with the
same values (checked here to 1e-6). The oracles get what they would get in practice, one binary mask per class, cut
out by their own cropping. CPU time is reported beside wall time, because it does not depend on who else uses the
machine. `--classes-for-oracles` times the oracles on that many classes spread over all sizes, and says that
their total is extrapolated.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy import ndimage

from benchmark.scoring.cases import score_case
from benchmark.scoring.conventions import get_convention
from benchmark.scoring.images import Geometry, LabelMap
from benchmark.scoring.overlap import dsc, measure_overlap
from speed.machine import process_bytes, processor
from speed.table import Ratio, parse, write_ratios

SHAPE, SPACING, CLASSES, TOLERANCE = (300, 300, 422), (1.5, 1.5, 1.5), 117, 3.0
METRICS = ("dsc", "nsd", "hd95")
SURFACES = {"surface_distance": "surface elements", "monai": "voxel edges"}


class Timing(NamedTuple):
    wall: float
    cpu: float


def generate_volume(shape: Sequence[int] = SHAPE, seed: int = 0) -> np.ndarray:
    """Ellipsoids of 117 classes with half axes from about 5 to 90 voxels inside a body, small ones drawn last; in a
    smaller volume all are smaller."""
    random = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    scale = min(shape) / min(SHAPE)
    sizes = scale * np.sort(np.exp(random.uniform(np.log(8), np.log(55), CLASSES)))[::-1]
    values = random.permutation(CLASSES) + 1
    for value, size in zip(values, sizes, strict=True):
        radii = size * random.uniform(0.6, 1.6, 3)
        middle = np.array(shape) * (0.5 + random.uniform(-0.33, 0.33, 3))
        first = np.maximum(middle - radii, 0).astype(int)
        last = np.minimum(middle + radii + 2, shape).astype(int)
        window = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        inside = sum(((axis - m) / r) ** 2 for axis, m, r in zip(np.ogrid[window], middle, radii, strict=True)) <= 1
        labels[window][inside] = value
    return labels


def displace(labels: np.ndarray, *, amplitude: float = 2.5, seed: int = 1) -> np.ndarray:
    """A copy moved by a smooth random field of about `amplitude` voxels: a plausible prediction."""
    random = np.random.default_rng(seed)
    coarse = random.normal(0, amplitude, (3, 8, 8, 10)).astype(np.float32)
    indices = []
    for axis, field in enumerate(coarse):
        fine = ndimage.zoom(field, np.array(labels.shape) / field.shape, order=1)
        positions = np.arange(labels.shape[axis], dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        indices.append(np.clip(np.rint(positions + fine), 0, labels.shape[axis] - 1).astype(np.int16))
    return labels[tuple(indices)]


def timed(function: Callable, *arguments: object) -> tuple[object, Timing]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = function(*arguments)
    return result, Timing(time.perf_counter() - wall, time.process_time() - cpu)


def score_ours(reference: np.ndarray, prediction: np.ndarray, convention: str) -> dict[tuple[int, str], float]:
    geometry = Geometry(reference.shape, SPACING)
    scores = score_case(
        LabelMap(reference, geometry),
        LabelMap(prediction, geometry),
        labels={value: str(value) for value in range(1, CLASSES + 1)},
        conventions=[get_convention(convention)],
        metrics=METRICS,
    )
    return {(int(score.class_name), score.metric): score.value for score in scores}


def score_surface_distance(reference: np.ndarray, prediction: np.ndarray, value: int) -> tuple[float, ...]:
    import surface_distance

    masks = reference == value, prediction == value
    distances = surface_distance.compute_surface_distances(*masks, SPACING)
    return (
        surface_distance.compute_dice_coefficient(*masks),
        surface_distance.compute_surface_dice_at_tolerance(distances, TOLERANCE),
        surface_distance.compute_robust_hausdorff(distances, 95),
    )


def score_monai(reference: np.ndarray, prediction: np.ndarray, value: int) -> tuple[float, ...]:
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice

    masks = [torch.from_numpy(side == value)[None, None] for side in (prediction, reference)]
    common = {"include_background": True, "spacing": SPACING}
    return (
        compute_dice(*masks).item(),
        compute_surface_dice(*masks, [TOLERANCE], **common).item(),
        compute_hausdorff_distance(*masks, percentile=95, **common).item(),
    )


def compare(reference: np.ndarray, prediction: np.ndarray, values: Sequence[int]) -> list[Ratio]:
    """Time both definitions against their oracle, and check that the values are the same."""
    ratios = []
    small = tuple(slice(0, 40) for _ in reference.shape)
    pairs = (("surface_distance", score_surface_distance), ("monai", score_monai))
    totals: dict[str, list[Timing]] = {}
    for convention, oracle in pairs:
        score_ours(reference[small], prediction[small], convention)  # compile, import
        oracle(reference[small] > 0, prediction[small] > 0, 1)
        ours, own = timed(score_ours, reference, prediction, convention)
        worst, spent = 0.0, Timing(0.0, 0.0)
        for value in values:
            theirs, cost = timed(oracle, reference, prediction, value)
            spent = Timing(spent.wall + cost.wall, spent.cpu + cost.cpu)
            mine = [ours[value, metric] for metric in METRICS]
            worst = max(worst, *(abs(a - b) / max(1.0, abs(b)) for a, b in zip(mine, theirs, strict=True)))
        factor = CLASSES / len(values)
        total = Timing(spent.wall * factor, spent.cpu * factor)
        totals[convention] = [own, total]
        note = (
            "" if factor == 1 else f" (extrapolated from {len(values)} classes, {spent.cpu / len(values):.2f} s each)"
        )
        print(f"{convention:<18} Retable {own.cpu:7.2f} s CPU {own.wall:7.2f} s wall")
        print(f"{'':<18} package {total.cpu:7.2f} s CPU {total.wall:7.2f} s wall{note}")
        print(f"{'':<18} {total.cpu / own.cpu:.1f} times faster; largest relative difference {worst:.1e}")
        if worst >= 1e-6:
            raise SystemExit("the values differ, so the times cannot be compared")
        size = " × ".join(map(str, reference.shape))
        measured = f"dsc, nsd, hd95 of {CLASSES} classes, {SURFACES[convention]}, {size}"
        ratios.append(Ratio(measured, convention.replace("_", "-"), "CPU time", total.cpu / own.cpu))
    best = min(total.cpu for _, total in totals.values())
    slowest = max(own.cpu for own, _ in totals.values())
    print(f"against the better of the two, slower definition of ours: {best / slowest:.1f} times")
    return ratios


def score_saved(folder: str) -> tuple[int, float]:
    """Score the volume saved in a folder; returns the growth of the process's peak memory in bytes and CPU seconds."""
    small = np.ones((8, 8, 8), np.uint8)
    score_ours(small, small, "canonical")
    before = process_bytes("VmRSS")
    maps = [np.load(Path(folder) / f"{side}.npy") for side in ("reference", "prediction")]
    _, spent = timed(score_ours, *maps, "canonical")
    return process_bytes("VmHWM") - before, spent.cpu


def measure_processes(folder: str, processes: Sequence[int]) -> None:
    """Peak memory of a worker, and cases per second of 1, 2, … workers."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        growth, _ = pool.submit(score_saved, folder).result()
    print(
        f"peak memory, maps included: {growth / 2**20:.0f} MiB = {growth / (2 * np.prod(SHAPE)):.2f} × the label maps"
    )
    single: tuple[float, float] | None = None
    for count in processes:
        with ProcessPoolExecutor(count, mp_context=context) as pool:
            list(pool.map(score_saved, [folder] * count))  # start, compile
            results, spent = timed(lambda pool=pool, count=count: list(pool.map(score_saved, [folder] * 3 * count)))
        rate, cpu = 3 * count / spent.wall, float(np.mean([seconds for _, seconds in results]))
        single = single or (rate / count, cpu)
        print(
            f"{count} processes: {rate:.3f} cases/s, {rate / single[0] / count:.0%} of linear; "
            f"{cpu:.2f} s CPU per case, {cpu / single[1]:.2f} × that of one process"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes-for-oracles", type=int, default=CLASSES)
    parser.add_argument("--processes", type=int, nargs="*", default=sorted({1, len(os.sched_getaffinity(0))}))
    parser.add_argument("--shape", type=int, nargs=3, default=SHAPE)
    small = {"shape": (150, 150, 211), "classes_for_oracles": 8, "processes": []}
    arguments = parse(parser, small=small)
    warnings.filterwarnings("ignore")
    np.Inf, np.NaN = np.inf, np.nan  # surface-distance 0.1 predates numpy 2
    _one_thread()
    reference = generate_volume(arguments.shape)
    prediction = displace(reference)
    overlap, spent = timed(measure_overlap, reference, prediction)
    overlap, spent = timed(measure_overlap, reference, prediction)  # the first call compiles or loads the cache
    present = np.flatnonzero((overlap.reference > 0) & (overlap.prediction > 0))[1:]
    print(f"{platform.node()}: {processor()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    print(
        f"volume {reference.shape}, {len(present)} classes in both maps, mean Dice {dsc(overlap)[present].mean():.3f}"
    )
    print(f"Dice of all classes: {spent.cpu:.3f} s CPU, {spent.wall:.3f} s wall")
    by_size = present[np.argsort(overlap.reference[present])]
    chosen = by_size[np.linspace(0, len(by_size) - 1, min(arguments.classes_for_oracles, len(by_size))).astype(int)]
    write_ratios(arguments, compare(reference, prediction, [int(value) for value in chosen]))
    if not arguments.processes:
        return
    with tempfile.TemporaryDirectory() as folder:
        for side, labels in (("reference", reference), ("prediction", prediction)):
            np.save(Path(folder) / f"{side}.npy", labels)
        measure_processes(folder, arguments.processes)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
