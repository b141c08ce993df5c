"""Time and peak memory of every 3-D network at one size, ours beside the released formulation where they differ.

    python speed/networks.py                                     # demo options, 64^3, on the CPU
    python speed/networks.py --device cuda --scale paper --size 128

Every cell is a process of its own, one after another: peak memory is the most that the process holds, less what it held
before the network was built (resident memory on a CPU, allocated on a GPU). Seconds are the least of the repeats. On a
CPU, processor time over all threads stands beside the elapsed time, because other work disturbs it less. The released
formulations compute the same function (tests/models/test_network_forms.py):

- attention: explicit softmax of the whole score matrix, for nnFormer, PHTrans and UNesT;
- Universal Model, DoDNet: features repeated for every class, grouped convolutions sample by sample;
- 3D RepUX-Net: direct depth-wise convolution, which is also our default, beside fast Fourier transforms;
- Swin SMT: the whole dispatch matrix, instead of blocks of it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.models.registry import available_models, build, model_entry
from speed.machine import device_name, forget_peak, process_bytes
from speed.table import Ratio, parse, write_ratios

OURS = "ours"
FORMS: dict[str, tuple[str, ...]] = {  # of the networks that have more than one
    "nnformer": (OURS, "released"),
    "phtrans": (OURS, "released"),
    "unest": (OURS, "released"),
    "universal_model": (OURS, "released"),
    "dodnet": (OURS, "released"),
    "repuxnet": ("fft", "released"),
    "swin_smt": (OURS, "released"),
}
FORM_OPTIONS = {
    ("repuxnet", "fft"): {"convolution": "fft"},
    ("swin_smt", OURS): {"soft_moe": "streamed"},
    ("swin_smt", "released"): {"soft_moe": "materialised"},
}
PRECISIONS = {"32-true": None, "16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


def explicit_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    return (scores if attn_mask is None else scores + attn_mask).softmax(-1) @ value


def grouped_head(features: Tensor, parameters: Tensor, widths: Sequence[int], **_: Any) -> Tensor:
    """Sample by sample, its features repeated for each group."""
    groups, layers = parameters.shape[1], len(widths) - 1
    shapes = [(after, before) for before, after in pairwise(widths)]
    sizes = [after * before for after, before in shapes] + list(widths[1:])
    logits = []
    for sample, own in zip(features, parameters, strict=True):
        parts = own.split(sizes, dim=1)
        hidden = sample.repeat(groups, 1, 1, 1)[None]
        for layer, (after, before) in enumerate(shapes):
            weight = parts[layer].reshape(groups * after, before, 1, 1, 1)
            hidden = functional.conv3d(hidden, weight, parts[layers + layer].flatten(), groups=groups)
            hidden = hidden if layer == layers - 1 else functional.relu(hidden)
        logits.append(hidden)
    return torch.cat(logits)


def formulation(network: str, form: str) -> AbstractContextManager[Any]:
    """What has to be replaced while the network runs in `form`."""
    if form != "released":
        return nullcontext()
    if network in ("nnformer", "phtrans", "unest"):
        return patch.object(functional, "scaled_dot_product_attention", explicit_attention)
    if network in ("universal_model", "dodnet"):
        return patch(f"benchmark.models.{network}.dynamic_head", grouped_head)
    return nullcontext()


def held_bytes(device: torch.device) -> int:
    """What this process holds now; its record of the most it held starts anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    forget_peak()
    return process_bytes("VmRSS")


def peak_bytes(device: torch.device) -> int:
    """The most that this process held since `held_bytes`."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else process_bytes("VmHWM")


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def loss_of(output: Tensor | Sequence[Tensor]) -> Tensor:
    outputs = [output] if isinstance(output, Tensor) else output
    return sum(logits.float().square().mean() for logits in outputs)


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """One cell, in this process: seconds forward, seconds forward and backward, processor seconds, peak bytes."""
    network, form = arguments.cell
    device, half = torch.device(arguments.device), PRECISIONS[arguments.precision]
    torch.manual_seed(0)
    options = dict(model_entry(network).demo if arguments.scale == "demo" else {})
    shape = (arguments.size,) * 3
    before = held_bytes(device)
    model = build(
        network,
        in_channels=1,
        out_channels=arguments.classes,
        spatial_shape=shape,
        **options | FORM_OPTIONS.get((network, form), {}),
    ).to(device)
    image = torch.randn(arguments.batch, 1, *shape, device=device)
    autocast = torch.autocast(device.type, dtype=half, enabled=half is not None)
    forward, both, processor = [], [], []
    for _ in range(arguments.repeats + 1):  # the first warms up
        with formulation(network, form), autocast:
            start = time.perf_counter()
            with torch.no_grad():
                model(image)
            synchronise(device)
            forward.append(time.perf_counter() - start)
            start, cpu = time.perf_counter(), time.process_time()
            loss = loss_of(model(image))
        with formulation(network, form):
            loss.backward()
        synchronise(device)
        both.append(time.perf_counter() - start)
        processor.append(time.process_time() - cpu)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "forward": min(forward[1:]),
        "both": min(both[1:]),
        "processor": min(processor[1:]),
        "bytes": peak_bytes(device) - before,
    }


def run_cell(network: str, form: str, limit: float) -> dict[str, float] | str:
    """The measurement in a process of its own, or why there is none."""
    command = [sys.executable, __file__, *sys.argv[1:], "--cell", network, form]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return f"not finished in {limit:.0f} s"
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return lines[-1][:90] if lines else f"ended by signal {-done.returncode}"
    return json.loads(done.stdout.splitlines()[-1])


def machine(device: torch.device) -> str:
    if device.type == "cuda":
        return device_name(device.type)
    return f"{device_name(device.type)}, {torch.get_num_threads()} of {os.cpu_count()} threads"


def volumetric() -> list[str]:
    return [name for name in available_models() if 3 in model_entry(name).spatial_dims]


def forms_compared(network: str, cells: dict[str, dict[str, float]], arguments: argparse.Namespace) -> list[Ratio]:
    """Ours against the released formulation, of the networks that have both."""
    if len(cells) < 2:
        return []
    ours, released = FORMS[network]
    measured = f"{network} ({ours}), {arguments.scale} options, forward and backward, {arguments.size}³"
    time_key, what = ("processor", "CPU time") if arguments.device == "cpu" else ("both", "time")
    kinds = ((what, time_key), ("memory", "bytes"))
    return [Ratio(measured, "released form", kind, cells[released][key] / cells[ours][key]) for kind, key in kinds]


def row(network: str, form: str, *cells: str) -> str:
    return f"{network:<18}{form:<10}" + "".join(f"{cell:>14}" for cell in cells)


def arguments_from() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", help="some of the registered 3-D networks; by default all")
    parser.add_argument("--scale", choices=("demo", "paper"), default="demo", help="demo or default options")
    parser.add_argument("--size", type=int, default=64, help="side of the cube; at 32 several networks reach one voxel")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--classes", type=int, default=None, help="default: 3 at demo scale, 118 at paper scale")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--precision", choices=PRECISIONS, help="default: 32-true on a CPU, 16-mixed (Swin SMT) on a GPU"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds that a cell may take")
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)
    arguments = parse(parser, small={"networks": ["universal_model"], "classes": 32, "repeats": 1})
    arguments.classes = arguments.classes or (3 if arguments.scale == "demo" else 118)
    arguments.precision = arguments.precision or ("16-mixed" if arguments.device.startswith("cuda") else "32-true")
    return arguments


def main() -> None:
    arguments = arguments_from()
    if arguments.cell:
        print(json.dumps(measure(arguments)))
        return
    print(
        f"{machine(torch.device(arguments.device))}; torch {torch.__version__}; {arguments.scale} options, "
        f"{arguments.batch} x 1 x {arguments.size}^3, {arguments.classes} classes, {arguments.precision}"
    )
    print(
        f"{'network':<18}{'form':<10}{'parameters':>12}{'forward s':>11}{'+backward s':>13}{'CPU s':>9}{'peak GB':>9}"
    )
    ratios: list[Ratio] = []
    for network in arguments.networks or volumetric():
        cells = {}
        for form in FORMS.get(network, (OURS,)):
            cell = run_cell(network, form, arguments.limit)
            if isinstance(cell, str):
                print(row(network, form, cell), flush=True)
                continue
            cells[form] = cell
            seconds = [f"{cell[key]:.3f}" for key in ("forward", "both", "processor")]
            print(row(network, form, f"{cell['parameters']:,}", *seconds, f"{cell['bytes'] / 1e9:.3f}"), flush=True)
        ratios += forms_compared(network, cells, arguments)
    write_ratios(arguments, ratios)


if __name__ == "__main__":
    main()
