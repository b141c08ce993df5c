"""Time and peak memory of the training loss, ours beside MONAI's DiceCELoss: forward and backward, CPU or GPU.

python speed/objective.py [--classes 118] [--side 48] [--batch 1] [--repeats 5]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmark.settings import Loss
from benchmark.training.objectives.dice_cross_entropy import SegmentationLoss

LOSSES = ("ours", "monai")


def make_loss(name: str) -> Callable:
    if name == "ours":
        return SegmentationLoss(Loss())
    from monai.losses import DiceCELoss

    reference = DiceCELoss(softmax=True, to_onehot_y=True)
    return lambda logits, labels: reference(logits, labels[:, None])


def peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def measure(name: str, *, classes: int, side: int, batch: int, repeats: int) -> tuple[float, float]:
    """Median seconds of forward + backward, and MB above the logits themselves."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator(device).manual_seed(0)
    shape = (batch, classes, side, side, side)
    logits = torch.randn(shape, generator=generator, device=device, requires_grad=True)
    labels = torch.randint(classes, (batch, side, side, side), generator=generator, device=device)
    loss = make_loss(name)
    loss(logits[:, :, :4, :4, :4], labels[:, :4, :4, :4]).backward()  # loads kernels
    logits.grad = None
    reset_peak(device)
    before, seconds = peak_bytes(device), []
    for _ in range(repeats):
        logits.grad = None
        start = time.perf_counter()
        value = loss(logits, labels)
        value.backward()
        value.item()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), (peak_bytes(device) - before) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=118)
    parser.add_argument("--side", type=int, default=48)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=LOSSES, help="measure one of them in this process")
    arguments = parser.parse_args()
    if arguments.only:
        sizes = {name: getattr(arguments, name) for name in ("classes", "side", "batch", "repeats")}
        print(*measure(arguments.only, **sizes))
        return
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    print(
        f"{arguments.classes} classes, {arguments.batch} x {arguments.side}³, {machine}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads; forward + backward"
    )
    print(f"{'loss':8}{'ms':>10}{'MB above logits':>18}")
    for name in LOSSES:  # one process each: a process's peak memory never falls
        command = [sys.executable, *sys.argv, "--only", name]
        output = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout
        seconds, megabytes = map(float, output.split())
        print(f"{name:8}{seconds * 1e3:10.0f}{megabytes:18.0f}")


if __name__ == "__main__":
    main()
