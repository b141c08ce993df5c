"""Peak memory and time of our sliding window and MONAI's three, side by side: `python speed/sliding_window.py`.

MONAI's are the released `SlidingWindowInferer`, the same with `buffer_steps=1`, and the slab-wise form of pull request
9071 (`slab_wise.py`). Each method runs in its own process (peak resident memory never falls within one). The network is
a 1×1×1 convolution, so that what is measured is the blending. Labels are compared: they must be those of the released
class, to the bit with ours, and but for rounding with the other two, which sum in another order.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from math import prod
from pathlib import Path

import monai
import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark.inference.sliding_window import Window, peak_voxels, predict_labels
from speed.machine import processor
from speed.slab_wise import slab_wise_labels
from speed.table import Ratio, parse, write_ratios

METHODS = {"MONAI's": "monai", "MONAI's with buffer_steps=1": "buffered", "MONAI's proposed slabs": "slabs"}
ROUNDING = 1e-5  # share of voxels at most whose two best classes are equal but for rounding


def label(method: str, image: torch.Tensor, network: nn.Conv3d, window: Window) -> torch.Tensor:
    if method == "ours":
        return predict_labels(network, image, window, device="cpu")
    if method == "slabs":
        return slab_wise_labels(network, image, window, network.out_channels)
    inferer = SlidingWindowInferer(
        window.patch,
        sw_batch_size=window.batch,
        overlap=window.overlap,
        mode="gaussian",
        buffer_steps=1 if method == "buffered" else None,
    )
    with torch.no_grad():
        return inferer(image[None], network)[0].argmax(0).byte()


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Run one method in this process; memory is what the prediction added to the process before it."""
    torch.manual_seed(0)
    network = nn.Conv3d(1, arguments.classes, 1).eval()
    image = torch.randn(1, *arguments.volume)
    label(arguments.method, image[:, :16, :16, :16], network, Window((8,) * 3))  # imports, compiles
    before, start, cpu = peak_memory(), time.perf_counter(), time.process_time()
    labels = label(arguments.method, image, network, Window((arguments.patch,) * 3))
    used = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "bytes": peak_memory() - before,
    }
    np.save(arguments.labels, labels.numpy())
    return used


def measure_apart(method: str) -> tuple[dict[str, float], np.ndarray]:
    """`measure` in a process of its own with this script's arguments, and the labels."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "labels.npy"
        command = [sys.executable, __file__, *sys.argv[1:], "--method", method, "--labels", str(file)]
        used = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{method:8} {used['bytes'] / 2**30:6.2f} GiB {used['seconds']:7.1f} s ({used['cpu_seconds']:.1f} s CPU)")
        return used, np.load(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=118)
    parser.add_argument("--volume", type=int, nargs=3, default=(120, 120, 170))
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--method", choices=("ours", *METHODS.values()), help="measure one in this process, as JSON")
    parser.add_argument("--labels", type=Path, help="with --method: .npy file for the labels")
    arguments = parse(parser, small={"volume": (96, 96, 128), "patch": 48})
    if arguments.method:
        print(json.dumps(measure(arguments)))
        return
    window, classes = Window((arguments.patch,) * 3), arguments.classes
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, monai {monai.__version__}")
    print(f"{classes} classes on {tuple(arguments.volume)}, window {arguments.patch}³")
    ours, labels = measure_apart("ours")
    measured, ratios = f"sliding window, {classes} classes on {' × '.join(map(str, arguments.volume))}", []
    for name, method in METHODS.items():
        theirs, found = measure_apart(method)
        other = float((found != labels).mean())
        if other > (0 if method == "monai" else ROUNDING):
            raise SystemExit(f"{name} labels differ from ours in {other:.2%} of the voxels: times cannot be compared")
        ratio = {kind: theirs[key] / ours[key] for kind, key in (("CPU time", "cpu_seconds"), ("memory", "bytes"))}
        print(f"{name} / ours: " + ", ".join(f"{kind} {value:.2f}" for kind, value in ratio.items()), end="; ")
        print(f"labels differ in {other * labels.size:.0f} of {labels.size} voxels")
        ratios += [Ratio(measured, name, kind, value) for kind, value in ratio.items()]
    for volume, size in ((arguments.volume, window), ((300, 300, 422), Window((128,) * 3))):
        whole, alive = (4 * voxels * (classes + 1) / 2**30 for voxels in (prod(volume), peak_voxels(volume, size)))
        print(f"scores of {tuple(volume)}: {whole:.2f} GiB in all, at most {alive:.2f} GiB at once (peak_voxels)")
    write_ratios(arguments, ratios)


if __name__ == "__main__":
    main()
