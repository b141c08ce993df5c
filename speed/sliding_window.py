"""Peak memory and time of our sliding window and MONAI's, side by side: `python speed/sliding_window.py`.

Each cell runs in its own process (peak resident memory never falls within one). The network is a 1×1×1 convolution, so
that what is measured is the blending. Labels are compared: they must be equal.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import zlib
from math import prod
from pathlib import Path

import monai
import torch
from monai.inferers import SlidingWindowInferer
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark.inference.sliding_window import Window, peak_voxels, predict_labels
from speed.machine import processor
from speed.table import Ratio, parse, write_ratios


def label(method: str, image: torch.Tensor, network: nn.Module, window: Window) -> torch.Tensor:
    if method == "ours":
        return predict_labels(network, image, window, device="cpu")
    inferer = SlidingWindowInferer(window.patch, sw_batch_size=window.batch, overlap=window.overlap, mode="gaussian")
    with torch.no_grad():
        return inferer(image[None], network)[0].argmax(0).byte()


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Run one cell in this process; memory is what the prediction added to the process before it."""
    torch.manual_seed(0)
    network = nn.Conv3d(1, arguments.classes, 1).eval()
    image = torch.randn(1, *arguments.volume)
    label(arguments.cell, image[:, :16, :16, :16], network, Window((8,) * 3))  # imports, compiles
    before, start, cpu = peak_memory(), time.perf_counter(), time.process_time()
    labels = label(arguments.cell, image, network, Window((arguments.patch,) * 3))
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "bytes": peak_memory() - before,
        "checksum": zlib.crc32(labels.numpy().tobytes()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=118)
    parser.add_argument("--volume", type=int, nargs=3, default=(120, 120, 170))
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--cell", choices=("ours", "monai"), help="measure one cell in this process and print JSON")
    arguments = parse(parser, small={"volume": (96, 96, 128), "patch": 48})
    if arguments.cell:
        print(json.dumps(measure(arguments)))
        return
    window, classes = Window((arguments.patch,) * 3), arguments.classes
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, monai {monai.__version__}")
    print(f"{classes} classes on {tuple(arguments.volume)}, window {arguments.patch}³")
    cells = {}
    for method in ("monai", "ours"):
        command = [sys.executable, __file__, *sys.argv[1:], "--cell", method]
        cells[method] = cell = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{method:6} {cell['bytes'] / 2**30:6.2f} GiB {cell['seconds']:7.1f} s ({cell['cpu_seconds']:.1f} s CPU)")
    ratio = {key: cells["monai"][key] / cells["ours"][key] for key in ("bytes", "seconds", "cpu_seconds")}
    if cells["monai"]["checksum"] != cells["ours"]["checksum"]:
        raise SystemExit("the labels differ, so times cannot be compared")
    print(
        "labels equal; MONAI / ours: memory {bytes:.1f}, time {seconds:.2f}, CPU time {cpu_seconds:.2f}".format(**ratio)
    )
    for volume, size in ((arguments.volume, window), ((300, 300, 422), Window((128,) * 3))):
        whole, alive = (4 * voxels * (classes + 1) / 2**30 for voxels in (prod(volume), peak_voxels(volume, size)))
        print(f"scores of {tuple(volume)}: {whole:.2f} GiB in all, at most {alive:.2f} GiB at once (peak_voxels)")
    measured = f"sliding window, {classes} classes on {' × '.join(map(str, arguments.volume))}"
    kinds = {"CPU time": "cpu_seconds", "memory": "bytes"}
    write_ratios(arguments, [Ratio(measured, "MONAI's", kind, ratio[key]) for kind, key in kinds.items()])


if __name__ == "__main__":
    main()
