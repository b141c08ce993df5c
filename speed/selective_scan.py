"""Speed and memory of the selective scan's backends, forward and backward.

    python speed/selective_scan.py                      # native against reference on the CPU
    python speed/selective_scan.py --device cuda        # triton against mamba-ssm, and whether they agree

Each backend runs in its own process, so that the peak memory is its own. The peak is what the run adds to the memory
held before it (imports, compiled kernels, inputs); the time is the fastest of the repeats after one warm-up.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmark.models.layers.selective_scan import selective_scan


def make_inputs(channels: int, length: int, state: int, groups: int, device: str) -> dict[str, torch.Tensor]:
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
    return {name: value.to(device).requires_grad_() for name, value in inputs.items()}


def step(inputs: dict[str, torch.Tensor], backend: str) -> float:
    for value in inputs.values():
        value.grad = None
    begin = time.perf_counter()
    selective_scan(**inputs, delta_softplus=True, backend=backend).square().mean().backward()
    if inputs["u"].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class PeakMemory:
    """Bytes added at most while the block runs; on the CPU read off the process every millisecond."""

    def __init__(self, device: str) -> None:
        self.cuda, self.peak, self.stop = device.startswith("cuda"), 0, threading.Event()

    def __enter__(self) -> PeakMemory:
        self.before = torch.cuda.memory_allocated() if self.cuda else resident()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            self.watcher = threading.Thread(target=self._watch)
            self.watcher.start()
        return self

    def _watch(self) -> None:
        while not self.stop.wait(0.001):
            self.peak = max(self.peak, resident() - self.before)

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        if self.cuda:
            self.peak = torch.cuda.max_memory_allocated() - self.before
        else:
            self.watcher.join()


def measure(arguments: argparse.Namespace) -> dict[str, float | str]:
    torch.set_num_threads(arguments.threads)
    small = make_inputs(8, 40, arguments.state, 1, arguments.device)
    step(small, arguments.one)  # compiles
    inputs = make_inputs(arguments.channels, arguments.length, arguments.state, arguments.groups, arguments.device)
    with PeakMemory(arguments.device) as memory:
        step(inputs, arguments.one)
    seconds = min(step(inputs, arguments.one) for _ in range(arguments.repeats))
    checksum = sum(value.grad.double().abs().sum().item() for value in inputs.values())
    return {"backend": arguments.one, "seconds": seconds, "peak_bytes": memory.peak, "checksum": checksum}


def compare(arguments: argparse.Namespace) -> None:
    backends = ("reference", "native") if arguments.device == "cpu" else ("mamba_ssm", "triton")
    rows = []
    for backend in backends:
        command = [sys.executable, __file__, *sys.argv[1:], "--one", backend]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            print(f"{backend:10} did not run: {finished.stderr.strip().splitlines()[-1]}")
            continue
        rows.append(json.loads(finished.stdout))
        print(
            "{backend:10} {seconds:8.3f} s  {0:8.1f} MB  gradients {checksum:.6e}".format(
                rows[-1]["peak_bytes"] / 1e6, **rows[-1]
            )
        )
    if len(rows) == 2:
        time_ratio, memory_ratio = (rows[0][key] / rows[1][key] for key in ("seconds", "peak_bytes"))
        print(f"time {time_ratio:.2f} x, memory {memory_ratio:.2f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--channels", type=int, default=768)
    parser.add_argument("--length", type=int, default=6400)
    parser.add_argument("--state", type=int, default=16)
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments))) if arguments.one else compare(arguments)


if __name__ == "__main__":
    main()
