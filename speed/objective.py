"""Time and peak memory of the training loss, ours beside MONAI's DiceCELoss: forward and backward, CPU or GPU.

python speed/objective.py [--classes 118] [--side 48] [--batch 1] [--device cuda]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmark.settings import Loss
from benchmark.training.objectives.dice_cross_entropy import SegmentationLoss
from speed.machine import device_name, forget_peak, in_fork, process_bytes
from speed.table import Ratio, least_in_turn, parse, write_ratios

LOSSES = ("ours", "monai")


def make_loss(name: str) -> Callable:
    if name == "ours":
        return SegmentationLoss(Loss())
    from monai.losses import DiceCELoss

    reference = DiceCELoss(softmax=True, to_onehot_y=True)
    return lambda logits, labels: reference(logits, labels[:, None])


def peak_bytes(device: str) -> int:
    return process_bytes("VmHWM") if device == "cpu" else torch.cuda.max_memory_allocated()


def step(loss: Callable, logits: torch.Tensor, labels: torch.Tensor) -> None:
    """Forward and backward, to the end."""
    logits.grad = None
    loss(logits, labels).backward()
    if logits.is_cuda:
        torch.cuda.synchronize()


def ready_step(name: str, *, classes: int, side: int, batch: int, device: str) -> Callable[[], None]:
    """A step of a loss on seeded logits, with its kernels loaded."""
    generator = torch.Generator(device).manual_seed(0)
    shape = (batch, classes, side, side, side)
    logits = torch.randn(shape, generator=generator, device=device, requires_grad=True)
    labels = torch.randint(classes, (batch, side, side, side), generator=generator, device=device)
    loss = make_loss(name)
    loss(logits[:, :, :4, :4, :4], labels[:, :4, :4, :4]).backward()
    logits.grad = None
    return partial(step, loss, logits, labels)


def step_megabytes(name: str, **sizes: Any) -> float:
    """What a step adds at most to what this process holds."""
    ready, device = ready_step(name, **sizes), sizes["device"]
    if device == "cpu":
        forget_peak()
    else:
        torch.cuda.reset_peak_memory_stats()
    before = peak_bytes(device)
    ready()
    return (peak_bytes(device) - before) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=118)
    parser.add_argument("--side", type=int, default=48)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments = parse(parser, small={})
    sizes = {name: getattr(arguments, name) for name in ("classes", "side", "batch", "device")}
    megabytes = {name: in_fork(partial(step_megabytes, name, **sizes)) for name in LOSSES}
    print(
        f"{arguments.classes} classes, {arguments.batch} x {arguments.side}³, {device_name(arguments.device)}, "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; forward + backward"
    )
    clock, what = (time.process_time, "CPU time") if arguments.device == "cpu" else (time.perf_counter, "time")
    steps = {name: ready_step(name, **sizes) for name in LOSSES}
    seconds = least_in_turn(steps, arguments.repeats, clock=clock)
    print(f"{'loss':8}{'ms ' + what:>14}{'MB above logits':>18}")
    for name in LOSSES:
        print(f"{name:8}{seconds[name] * 1e3:14.0f}{megabytes[name]:18.0f}")
    measured = f"training loss, {arguments.classes} classes, {arguments.batch} × {arguments.side}³"
    write_ratios(arguments, [
        Ratio(measured, "MONAI DiceCELoss", kind, amounts["monai"] / amounts["ours"])
        for kind, amounts in ((what, seconds), ("memory", megabytes))
    ])  # fmt: skip


if __name__ == "__main__":
    main()
