"""Time and peak memory of both forms of Soft MoE, forward and backward, side by side.

    python speed/soft_moe.py [--tokens 4096 12288 32768] [--dim 96] [--experts 4] [--device cuda]

Every cell is a process of its own: peak memory is what the process holds at its most, less what it held before the
first forward (resident memory on a CPU, allocated memory on a GPU). A cell that would not fit is not run. Beside
elapsed time stands processor time over all threads, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from speed.machine import device_name
from speed.table import Ratio, parse, write_ratios

FORMS = ("materialised", "streamed")
MATRICES = 5  # m × m float32 matrices alive at once in the materialised backward pass, as measured at m = 4096, 12288
SPARE = 1.2
GIGABYTE = 1e9


def measure(form: str, tokens: int, dim: int, experts: int, device: str, repeats: int) -> dict[str, float]:
    """Seconds (least of `repeats`) of a forward and of a backward pass, and peak bytes, in this process."""
    import torch

    from benchmark.models.layers.soft_moe import DynamicSoftMoE

    torch.manual_seed(0)
    layer = DynamicSoftMoE(dim, num_experts=experts, form=form).to(device)
    x = torch.randn(1, tokens, dim, device=device, requires_grad=True)
    before = peak_bytes(device)
    forward, backward, processor = [], [], []
    for _ in range(repeats):
        start, busy = now(device), time.process_time()
        y = layer(x)
        middle = now(device)
        y.square().mean().backward()
        forward.append(middle - start)
        backward.append(now(device) - middle)
        processor.append(time.process_time() - busy)
    return {
        "forward": min(forward),
        "backward": min(backward),
        "processor": min(processor),
        "peak": peak_bytes(device) - before,
    }


def now(device: str) -> float:
    if device != "cpu":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()


def peak_bytes(device: str) -> int:
    if device != "cpu":
        import torch

        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def free_bytes(device: str) -> int:
    if device != "cpu":
        query = "import torch; print(torch.cuda.mem_get_info()[0])"
        return int(subprocess.run([sys.executable, "-c", query], capture_output=True, text=True, check=True).stdout)
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def run_cell(form: str, tokens: int, arguments: argparse.Namespace) -> dict[str, float] | float:
    """The measurement in a fresh process, or the bytes it would need where those are not free."""
    needed = SPARE * MATRICES * 4 * tokens**2 if form == "materialised" else 0.0
    if needed > min(free_bytes(arguments.device), arguments.limit * GIGABYTE):
        return needed
    command = [sys.executable, __file__, "--cell", form, "--tokens", str(tokens), "--device", arguments.device]
    command += ["--dim", str(arguments.dim), "--experts", str(arguments.experts), "--repeats", str(arguments.repeats)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def machine(device: str) -> str:
    import torch

    load = f"{torch.get_num_threads()} threads, load average {os.getloadavg()[0]:.1f} at the start"
    return f"{device_name(device)}, torch {torch.__version__}" + (f", {load}" if device == "cpu" else "")


def line(tokens: int, form: str, cell: dict[str, float] | float) -> str:
    if isinstance(cell, float):
        return f"{tokens:>7}  {form:<12} not run (needs {cell / GIGABYTE:.0f} GB)"
    total = cell["forward"] + cell["backward"]
    seconds = (cell["forward"], cell["backward"], total, cell["processor"])
    return f"{tokens:>7}  {form:<12} " + " ".join(f"{s:>11.3f}" for s in seconds) + f" {cell['peak'] / 1e6:>11.0f}"


def compare(arguments: argparse.Namespace) -> list[Ratio]:
    ratios = []
    print(f"{machine(arguments.device)}; d = {arguments.dim}, {arguments.experts} experts, float32")
    heads = ("forward s", "backward s", "both s", "processor s", "peak MB")
    print(f"{'tokens':>7}  {'form':<12} " + " ".join(f"{head:>11}" for head in heads))
    for tokens in arguments.tokens:
        cells = [run_cell(form, tokens, arguments) for form in FORMS]
        for form, cell in zip(FORMS, cells, strict=True):
            print(line(tokens, form, cell), flush=True)
        if all(isinstance(cell, dict) for cell in cells):
            whole, streamed = cells
            faster = (whole["forward"] + whole["backward"]) / (streamed["forward"] + streamed["backward"])
            work, memory = (whole[key] / streamed[key] for key in ("processor", "peak"))
            print(f"{'':>9}materialised / streamed: time {faster:.2f}, processor {work:.2f}, memory {memory:.1f}")
            measured = f"Soft MoE streamed, forward and backward, {tokens:,} tokens"
            for what, ratio in (("CPU time" if arguments.device == "cpu" else "time", work), ("memory", memory)):
                ratios.append(Ratio(measured, "whole dispatch matrix", what, ratio))
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[4096, 12288, 32768])
    parser.add_argument("--dim", type=int, default=96)
    parser.add_argument("--experts", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3, help="passes of each cell; the fastest is printed")
    parser.add_argument("--limit", type=float, default=12.0, help="most gigabytes that a cell may need")
    parser.add_argument("--cell", choices=FORMS, help=argparse.SUPPRESS)
    arguments = parse(parser, small={"tokens": [4096], "repeats": 2})
    if arguments.cell:
        tokens = arguments.tokens[0]
        measured = measure(
            arguments.cell, tokens, arguments.dim, arguments.experts, arguments.device, arguments.repeats
        )
        print(json.dumps(measured))
    else:
        write_ratios(arguments, compare(arguments))


if __name__ == "__main__":
    main()
