"""Speed and memory of the selective scan's backends, forward and backward.

    python speed/selective_scan.py                      # native against reference on the CPU
    python speed/selective_scan.py --device cuda        # triton against mamba-ssm, and whether they agree
    python speed/selective_scan.py --type bfloat16 --length 25600

Peak memory is measured for each backend in its own process: what the first run adds to the memory held before it
(imports, compiled kernels, inputs). Time is that of the fastest repeat; the backends take turns in one process.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark.models.layers.selective_scan import selective_scan
from speed.machine import in_fork, process_bytes
from speed.table import Ratio, least_in_turn, parse, write_ratios

AGAINST = {"reference": "the recurrence step by step", "mamba_ssm": "mamba-ssm"}
AGREEMENT = 1e-3
NARROW = ("u", "delta", "B", "C")  # what a network under autocast hands over in its own type


def make_inputs(
    channels: int, length: int, state: int, groups: int, device: str, dtype: torch.dtype = torch.float32
) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "u": (1, channels, length),
        "delta": (1, channels, length),
        "B": (1, groups, state, length),
        "C": (1, groups, state, length),
        "D": (channels,),
        "delta_bias": (channels,),
    }
    inputs = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    inputs["delta_bias"] -= 3
    inputs["A"] = -torch.arange(1.0, state + 1).repeat(channels, 1)
    inputs |= {name: inputs[name].to(dtype) for name in NARROW}
    return {name: value.to(device).requires_grad_() for name, value in inputs.items()}


def step(inputs: dict[str, torch.Tensor], backend: str) -> None:
    """Forward and backward, to the end; the gradient of y is u itself, so that no loss is measured beside the scan."""
    for value in inputs.values():
        value.grad = None
    selective_scan(**inputs, delta_softplus=True, backend=backend).backward(inputs["u"].detach())
    if inputs["u"].is_cuda:
        torch.cuda.synchronize()


class PeakMemory:
    """Bytes added at most while the block runs; on the CPU read off the process every millisecond."""

    def __init__(self, device: str) -> None:
        self.cuda, self.peak, self.stop = device.startswith("cuda"), 0, threading.Event()

    def __enter__(self) -> PeakMemory:
        self.before = torch.cuda.memory_allocated() if self.cuda else process_bytes("VmRSS")
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            self.watcher = threading.Thread(target=self._watch)
            self.watcher.start()
        return self

    def _watch(self) -> None:
        while not self.stop.wait(0.001):
            self.peak = max(self.peak, process_bytes("VmRSS") - self.before)

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        if self.cuda:
            self.peak = torch.cuda.max_memory_allocated() - self.before
        else:
            self.watcher.join()


def ready_inputs(arguments: argparse.Namespace, backend: str) -> dict[str, torch.Tensor]:
    """Inputs of the size asked for, with the backend compiled."""
    torch.set_num_threads(arguments.threads)
    dtype = getattr(torch, arguments.type)
    step(make_inputs(8, 40, arguments.state, 1, arguments.device, dtype), backend)
    sizes = (arguments.channels, arguments.length, arguments.state, arguments.groups)
    return make_inputs(*sizes, arguments.device, dtype)


def measure(arguments: argparse.Namespace, backend: str) -> dict[str, float]:
    """Peak bytes of the first step, and a sum that tells whether gradients agree."""
    inputs = ready_inputs(arguments, backend)
    with PeakMemory(arguments.device) as memory:
        step(inputs, backend)
    checksum = sum(value.grad.double().abs().sum().item() for value in inputs.values())
    return {"peak_bytes": memory.peak, "checksum": checksum}


def compare(arguments: argparse.Namespace) -> list[Ratio]:
    """Memory of each backend in a process of its own; time of those that ran, in turn, in this one."""
    backends = ("reference", "native") if arguments.device == "cpu" else ("mamba_ssm", "triton")
    cells = {}
    for backend in backends:
        try:
            cells[backend] = in_fork(measure, arguments, backend)
        except (ImportError, RuntimeError) as error:  # no such package, or it does not fit this card
            print(f"{backend:10} did not run: {error}")
    clock, what = (time.process_time, "CPU time") if arguments.device == "cpu" else (time.perf_counter, "time")
    steps = {backend: partial(step, ready_inputs(arguments, backend), backend) for backend in cells}
    seconds = least_in_turn(steps, arguments.repeats, clock=clock)
    for backend, cell in cells.items():
        peak = f"{cell['peak_bytes'] / 1e6:8.1f} MB"
        print(f"{backend:10} {seconds[backend]:8.3f} s {what}  {peak}  gradients {cell['checksum']:.6e}")
    if len(cells) < 2:
        return []
    theirs, ours = backends
    first, second = (cells[backend]["checksum"] for backend in backends)
    if abs(first - second) > AGREEMENT * abs(first):
        raise SystemExit(f"gradients differ: {first:.6e} and {second:.6e}; times cannot be compared")
    measured = f"selective scan, {ours}, {arguments.channels} channels × {arguments.length}"
    measured += "" if arguments.type == "float32" else f", {arguments.type}"
    peaks = {backend: float(cell["peak_bytes"]) for backend, cell in cells.items()}
    kinds = ((what, seconds), ("memory", peaks))
    ratios = [Ratio(measured, AGAINST[theirs], kind, amount[theirs] / amount[ours]) for kind, amount in kinds]
    print(", ".join(f"{ratio.what} {ratio.ratio:.2f} x" for ratio in ratios))
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--channels", type=int, default=768)
    parser.add_argument("--length", type=int, default=6400)
    parser.add_argument("--state", type=int, default=16)
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--type", choices=("float32", "bfloat16"), default="float32", help="of u, delta, B and C")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parse(parser, small={"channels": 192, "length": 1600})
    write_ratios(arguments, compare(arguments))


if __name__ == "__main__":
    main()
