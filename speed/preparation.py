"""nnU-Net's preparation here and nnunetv2's own, on the same cases: `python speed/preparation.py`.

One cell is one case (crop, normalise, resample image and labels, and predicted scores back to the raw grid) or the
intensities of the two CTs' foreground (10^8 voxels drawn), by one of the two in a process of its own, because peak
resident memory never falls within one. Reading files, and nnunetv2's sampling of foreground voxels, are outside the
measured part; compiled loops are compiled before it. Both get the spacing on the command line and z-score each image.
Images, labels and what comes back must be equal to the last bit, and so must the drawn percentiles.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark.data.fingerprint import DRAWN_VOXELS, foreground_counts, intensities, merged
from benchmark.data.nonzero import as_volume
from benchmark.data.plan import Plan
from benchmark.data.planned_grid import restore_scores
from benchmark.data.prepared_grid import to_prepared_grid
from benchmark.datasets import get_dataset
from benchmark.datasets.nifti import read_volume
from benchmark.images.geometry import voxel_sides
from benchmark.settings import Preparation, Resampling
from speed.machine import forget_peak, process_bytes, processor
from speed.table import ONE_THREAD, Ratio, parse, write_ratios

DATA = Path(os.environ.get("RETABLE_DATA", Path(__file__).resolve().parents[2] / "shared/data"))
CASES = ("s9001", "s9002", "ACDC")
INTENSITIES = "intensities"
PARTS = {"there": "crop, normalise, resample", "back": "scores back to the raw grid", "drawn": "percentiles"}
Loaded = tuple[np.ndarray, np.ndarray, np.ndarray]
ResampledBack = Callable[[np.ndarray], np.ndarray]


def load(case: str) -> Loaded:
    """(image [1, x, y, z], labels [x, y, z], affine): a CT with its organs, or a cardiac MR."""
    if case == "ACDC":
        path = next(iter(sorted((DATA / "ACDC/database").rglob("*_frame01.nii.gz"))))
        image, affine = read_volume(path)
        return image[None], read_volume(path.with_name(path.name.replace(".nii", "_gt.nii")))[0], affine
    dataset = get_dataset("totalseg")
    found = {one.id: one for one in dataset.find_cases(DATA / "TotalSegmentator_v2_sample")}[case]
    image, affine = dataset.load_image(found)
    return image, dataset.load_labels(found)[0], affine


def ours(loaded: Loaded, spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, ResampledBack]:
    image, labels, affine = loaded
    preparation = Preparation(
        spacing="planned",
        orientation=None,
        crop="nonzero",
        normalise="zscore_planned",
        resampling=Resampling(rules="2.8"),
        outside="ignored",
    )
    plan = Plan(spacing=spacing, slice_axis=int(2 - np.argmax(spacing[::-1])))
    prepared, classes, grid = to_prepared_grid(image, labels, affine, preparation=preparation, plan=plan)
    meta = {"case": "", "shape": list(classes.shape), **grid}
    return prepared, classes, lambda scores: restore_scores(scores, meta)


def nnunetv2(loaded: Loaded, spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, ResampledBack]:
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    DefaultPreprocessor._sample_foreground_locations = staticmethod(lambda *_, **__: {})
    image, labels, affine = loaded
    target = list(spacing[::-1])
    first = int(np.argmax(target))
    forward = [first, *(axis for axis in range(3) if axis != first)]
    manager = PlansManager(_plans(target, forward))
    configuration = manager.get_configuration("3d_fullres")
    facts = {"labels": {"background": 0, **{f"class{n}": n for n in range(1, int(labels.max()) + 1)}}}
    properties: dict[str, Any] = {"spacing": list(voxel_sides(affine)[::-1])}
    seg = labels.transpose(2, 1, 0)[None].astype(np.int16)
    prepared, classes, properties = DefaultPreprocessor(verbose=False).run_case_npy(
        image.transpose(0, 3, 2, 1), seg, properties, manager, configuration, facts | {"channel_names": {"0": "MR"}}
    )
    backward = np.argsort(forward)

    def back(scores: np.ndarray) -> np.ndarray:
        held = scores.transpose(0, 3, 2, 1).transpose(0, *(axis + 1 for axis in forward))
        heads = SimpleNamespace(
            foreground_labels=[1], convert_logits_to_segmentation=lambda logits: np.asarray(logits).argmax(0)
        )
        return convert_predicted_logits_to_segmentation_with_correct_shape(
            held, manager, configuration, heads, properties, num_threads_torch=1
        ).transpose(2, 1, 0)

    whole = prepared.transpose(0, *(axis + 1 for axis in backward)).transpose(0, 3, 2, 1)
    return whole, classes[0].transpose(backward).T.astype(np.uint8), back


def our_intensities(cases: list[Loaded]) -> list[float]:
    preparation = Preparation(spacing="planned", crop="nonzero", normalise="ct_global", resampling=Resampling())
    counts = [
        foreground_counts(as_volume(image, 3), as_volume(labels, 3) > 0, preparation, len(cases))[0]
        for image, labels, _ in cases
    ]
    found = intensities(merged(counts))
    return [found.percentile_00_5, found.median, found.percentile_99_5]


def their_intensities(cases: list[Loaded]) -> list[float]:
    """nnunetv2's draw, and then its statistics: percentiles, mean, deviation, extremes of all that was drawn."""
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

    drawn = [
        DatasetFingerprintExtractor.collect_foreground_intensities(
            labels.transpose(2, 1, 0)[None],
            image.transpose(0, 3, 2, 1).astype(np.float32),
            num_samples=DRAWN_VOXELS // len(cases),
        )[0][0]
        for image, labels, _ in cases
    ]
    everything = np.array([np.concatenate(drawn)])
    found = np.percentile(everything[0], np.array((0.5, 50.0, 99.5)))
    _ = [float(statistic(everything[0])) for statistic in (np.mean, np.std, np.min, np.max)]
    return found.tolist()


def _plans(target: list[float], forward: list[int]) -> dict[str, Any]:
    """What a plans file says, as far as the preprocessor and the export read it."""
    resample = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    name = "resample_data_or_seg_to_shape"
    configuration = {
        "spacing": [target[axis] for axis in forward],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": name,
        "resampling_fn_data_kwargs": resample,
        "resampling_fn_seg": name,
        "resampling_fn_seg_kwargs": resample | {"is_seg": True, "order": 1},
        "resampling_fn_probabilities": name,
        "resampling_fn_probabilities_kwargs": resample | {"order": 1},
        "architecture": {"network_class_name": "", "arch_kwargs": {}, "_kw_requires_import": []},
    }
    return {
        "plans_name": "benchmark",
        "dataset_name": "benchmark",
        "label_manager": "LabelManager",
        "transpose_forward": forward,
        "transpose_backward": [int(axis) for axis in np.argsort(forward)],
        "foreground_intensity_properties_per_channel": {"0": {}},
        "configurations": {"3d_fullres": configuration},
    }


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one cell in this process."""
    cells: dict[str, Any] = {}
    if arguments.case == INTENSITIES:
        cases = [load(case) for case in CASES[:2]]
        draw = {"ours": our_intensities, "nnunetv2": their_intensities}[arguments.cell]
        with measured(cells, "drawn"):
            cells["equal"] = draw(cases)
        return cells
    spacing, loaded = tuple(arguments.spacing), load(arguments.case)
    small = np.arange(7 * 6 * 5, dtype=np.float32).reshape(1, 7, 6, 5)
    method = {"ours": ours, "nnunetv2": nnunetv2}[arguments.cell]
    _, _, back = method((small, small[0].astype(np.uint8) % 3, np.eye(4)), (1.5, 1.5, 1.5))
    back(np.zeros((2, *np.round(np.array(small[0].shape) / 1.5).astype(int)), np.float32))  # compiled and imported
    with measured(cells, "there"):
        image, labels, back = method(loaded, spacing)
    cells["equal"] = [*image.shape, *(zlib.crc32(np.ascontiguousarray(part).tobytes()) for part in (image, labels))]
    scores = np.random.default_rng(0).standard_normal((arguments.classes, *labels.shape), dtype=np.float32)
    del image
    with measured(cells, "back"):
        restored = back(scores)
    cells["equal"].append(zlib.crc32(np.ascontiguousarray(restored, dtype=np.uint8).tobytes()))
    return cells


@contextlib.contextmanager
def measured(cells: dict[str, Any], name: str) -> Iterator[None]:
    """Add seconds, CPU seconds, and the bytes by which this part exceeded what the process held before it."""
    forget_peak()
    before, start, cpu = process_bytes("VmRSS"), time.perf_counter(), time.process_time()
    yield
    cells[name] = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "bytes": max(process_bytes("VmHWM") - before, 0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spacing", type=float, nargs=3, default=(1.5, 1.5, 2.5), help="mm along x, y, z")
    parser.add_argument("--classes", type=int, default=14, help="of the scores that go back")
    parser.add_argument("--case", choices=(*CASES, INTENSITIES), help="one case only")
    parser.add_argument("--cell", choices=("ours", "nnunetv2"), help="measure one cell in this process, print JSON")
    arguments = parse(parser, small={"case": "ACDC"})
    if arguments.cell:
        print(json.dumps(measure(arguments)))
        return
    versions = f"numpy {np.__version__}, nnunetv2 {version('nnunetv2')}, Python {platform.python_version()}"
    print(f"{processor()}, {os.cpu_count()} CPUs, one thread each, {versions}")
    print(f"to {tuple(arguments.spacing)} mm, back with {arguments.classes} classes")
    ratios: list[Ratio] = []
    for case in [arguments.case] if arguments.case else (*CASES, INTENSITIES):
        cells = {}
        for method in ("nnunetv2", "ours"):
            command = [sys.executable, __file__, *sys.argv[1:], "--case", case, "--cell", method]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | ONE_THREAD)
            cells[method] = json.loads(done.stdout.splitlines()[-1])
        ratios += report(case, cells)
    write_ratios(arguments, ratios)


def report(case: str, cells: dict[str, Any]) -> list[Ratio]:
    theirs, mine = cells["nnunetv2"], cells["ours"]
    if theirs["equal"] != mine["equal"]:
        raise SystemExit(f"{case}: what comes out is different, so times cannot be compared")
    print(f"{case}: what comes out is equal")
    ratios = []
    for part in (name for name in theirs if name != "equal"):
        for name, cell in (("nnunetv2", theirs[part]), ("ours", mine[part])):
            seconds = f"{cell['seconds']:7.2f} s ({cell['cpu_seconds']:.2f} s CPU)"
            print(f"  {part:5} {name:8} {seconds} {cell['bytes'] / 2**20:8.0f} MiB")
        least = {"cpu_seconds": 1e-3, "bytes": 2**20}
        ratio = {key: theirs[part][key] / max(mine[part][key], low) for key, low in least.items()}
        print("  {0:5} nnunetv2 / ours: CPU time {cpu_seconds:.1f}, memory {bytes:.1f}".format(part, **ratio))
        measured = f"preparation, {case}, {PARTS[part]}"
        for what, key in (("CPU time", "cpu_seconds"), ("memory", "bytes")):
            ratios.append(Ratio(measured, "nnunetv2", what, ratio[key]))
    return ratios


if __name__ == "__main__":
    main()
