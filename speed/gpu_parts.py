"""What `gpu.py` measures, part by part: equal results first, then times, the slowest last."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmark.catalog import load_catalog
from benchmark.catalog.catalog import Catalog
from benchmark.cost import latency
from benchmark.datasets import get_dataset
from benchmark.models.layers.selective_scan import selective_scan
from benchmark.models.layers.soft_moe import DynamicSoftMoE
from benchmark.models.registry import build_for_run
from benchmark.settings import RunConfig
from benchmark.training.objectives import make_objective
from benchmark.training.optimisers import make_optimiser
from benchmark.training.processes import Processes, set_up_network
from speed.machine import forget_peak, process_bytes
from speed.selective_scan import make_inputs
from speed.table import ROOT

TOLERANCE = 1e-3  # of the largest value; sums of float32 in another order
SCAN_FLOPS_PER_SECOND = 3e13  # what a card sustains at least, to see whether another scan fits
Values = dict[str, float | int | str]


@dataclass(frozen=True)
class Form:
    """Where and how much: `cuda` as the papers have it, or small, which a CPU does in seconds."""

    device: str = "cuda"
    small: bool = False

    @property
    def scale(self) -> str:
        return "demo" if self.small else "paper"


@dataclass(frozen=True)
class Part:
    """Some measurements.

    Attributes:
        name: one word.
        items: names of the measurements, in order.
        measure: (form, item, seconds left) → values; raises RuntimeError or OutOfMemoryError with the reason of none.
        share: of the seconds left when it begins, the most that it may take.
        expected: (form, item) → seconds that it takes at least, to leave out what cannot end in time.
        checks: values have `difference`, which must not exceed TOLERANCE.
    """

    name: str
    items: Callable[[Form], list[str]]
    measure: Callable[[Form, str, float], Values]
    share: float = 1.0
    expected: Callable[[Form, str], float] = lambda form, item: 0.0
    checks: bool = False


def relative_difference(first: list[torch.Tensor], second: list[torch.Tensor]) -> float:
    """Largest difference over the largest value, the worst of several tensors."""
    pairs = zip(first, second, strict=True)
    return max(float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1e-30)) for a, b in pairs)


# Equal results


def scan_difference(form: Form, backend: str, left: float) -> Values:
    """Output and gradients of a backend of the selective scan, against the recurrence step by step."""
    length, found = 64 if form.small else 1600, {}
    for name in (backend, "reference"):
        inputs = make_inputs(16 if form.small else 192, length, 16, 4, form.device)
        out = selective_scan(**inputs, delta_softplus=True, backend=name)
        out.square().mean().backward()
        found[name] = [out.detach(), *(value.grad for value in inputs.values())]
    return {"difference": relative_difference(found[backend], found["reference"])}


def scan_backends(form: Form) -> list[str]:
    return ["native"] if form.device == "cpu" else ["triton", "mamba_ssm"]


def soft_moe_difference(form: Form, item: str, left: float) -> Values:
    """Output and gradient of the streamed form, against the whole dispatch matrix."""
    tokens, found = 256 if form.small else 4096, []
    for name in ("streamed", "materialised"):
        torch.manual_seed(0)
        layer = DynamicSoftMoE(48, num_experts=4, form=name).to(form.device)
        x = torch.randn(1, tokens, 48, generator=torch.Generator().manual_seed(1)).to(form.device).requires_grad_()
        out = layer(x)
        out.square().mean().backward()
        found.append([out.detach(), x.grad])
    return {"difference": relative_difference(*found)}


# Scripts of this folder, on this device


def run_script(form: Form, item: str, left: float) -> Values:
    """A script's ratios, as `what: measured` → ratio; each script checks its own results.

    Raises:
        RuntimeError: it failed or did not end in time.
    """
    words = SCRIPTS[item][form.small]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "ratios.json"
        command = [sys.executable, str(ROOT / "speed" / f"{item}.py"), "--device", form.device, "--ratios", str(out)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        try:
            done = subprocess.run(
                [*command, *words], capture_output=True, text=True, timeout=left, env=environment, check=False
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"not finished in {left:.0f} s") from None
        if done.returncode or not out.exists():
            raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
        ratios = json.loads(out.read_text(encoding="utf-8"))
    printed = {f"line {number}": line.strip() for number, line in enumerate(done.stdout.splitlines(), start=1)}
    return {f"{one['what']}: {one['measured']}, against {one['against']}": one["ratio"] for one in ratios} | printed


SCRIPTS: dict[str, dict[bool, list[str]]] = {  # words in full size, and in small
    "selective_scan": {False: ["--repeats", "5"], True: ["--channels", "8", "--length", "64", "--repeats", "1"]},
    "soft_moe": {False: ["--tokens", "4096", "32768", "--limit", "60"], True: ["--tokens", "256", "--repeats", "1"]},
    "sam_encoder": {False: ["--sides", "256", "1024"], True: ["--small"]},
}


# One training step


@cache
def catalog() -> Catalog:
    return load_catalog()


def per_device(config: RunConfig) -> int:
    return -(-config.training.batch // config.training.devices)


def step_runs(form: Form) -> list[str]:
    """One run of each network and its options, the smallest batches first; the first three of demo scale if small."""
    found: dict[tuple[str, str], tuple[int, str]] = {}
    for target in catalog().targets.values():
        for run in catalog().runs(target, scored=True):
            config = catalog().run(run, form.scale)
            voxels = per_device(config) * prod(config.training.patch)
            key = (config.model.name, str(config.model.options))
            found[key] = max(found.get(key, (0, run)), (voxels, run))
    runs = [run for _, run in sorted(found.values())]
    return runs[:3] if form.small else runs


def batch_of(config: RunConfig, classes: int, channels: int, samples: int) -> list[torch.Tensor]:
    """Noise and random labels, as the objective of a run takes them."""
    generator, patch = torch.Generator().manual_seed(0), config.training.patch
    images = torch.rand(samples, channels, *patch, generator=generator)
    if config.training.objective == "prompted":
        masks = torch.randint(2, (samples, *patch), generator=generator)
        points = torch.tensor([side // 2 for side in patch]).expand(samples, 1, 2).float()
        return [images, masks, points, torch.ones(samples, 1, dtype=torch.long)]
    labels = torch.randint(min(config.heads or (classes,)), (samples, *patch), generator=generator)
    if config.heads:
        return [images, labels, torch.arange(samples) % len(config.heads)]
    return [images, labels]


def training_step(form: Form, run: str, left: float) -> Values:
    """Seconds and peak memory of one optimiser step at the paper's batch per device, the first step not counted.

    The peak includes weights, gradients and the optimiser's state, as a training would hold them; on a CPU it is what
    was added to the process.
    """
    config = catalog().run(run, form.scale)
    dataset, training, device = get_dataset(config.dataset), config.training, torch.device(form.device)
    channels, classes = len(dataset.channels), len(config.labels or dataset.label_names) + 1
    precision = training.precision if device.type == "cuda" else "32-true"
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "16-mixed")
    processes = Processes(device=device, precision=precision, scaler=scaler)
    samples = per_device(config)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        forget_peak()
    before = process_bytes("VmRSS")
    raw = build_for_run(config, in_channels=channels, out_channels=classes)
    optimiser = make_optimiser(raw, training.optimiser)
    network = set_up_network(processes, raw, training).train()
    objective = make_objective(training, config.heads or (classes,))
    batch = processes.to_device(batch_of(config, classes, channels, samples))
    for _ in range(2):
        synchronise(device)
        start = time.perf_counter()
        scaler.scale(objective(network, *batch, epoch=0)).backward()
        processes.update(optimiser, clip_norm=training.clip_norm)
        synchronise(device)
        seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else process_bytes("VmHWM") - before
    return {
        "seconds": round(seconds, 4),
        "peak GiB": round(peak / 2**30, 3),
        "batch": " × ".join(map(str, (samples, channels, *training.patch))),
        "precision": precision,
        "parameters": sum(parameter.numel() for parameter in raw.parameters()),
    }


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# The Time column


@cache
def timed_runs() -> dict[str, str]:
    """Run → row of every table with a time column."""
    return {run: row for row, run in latency.timed_rows(catalog(), [])}


def windows(config: RunConfig) -> float:
    """About how many windows one scan has."""
    inference = config.inference
    sides = [side * (1 - inference.overlap) for side in inference.patch or config.training.patch]
    return prod(max(whole / side, 1.0) for whole, side in zip(latency.SCAN, sides, strict=True))


def scan_seconds(form: Form, run: str) -> float:
    """Seconds that the warm-up and one scan should take."""
    if form.small:
        return 1.0
    config = catalog().run(run)
    return flops(run) * (windows(config) + latency.WARM_UP_WINDOWS) / SCAN_FLOPS_PER_SECOND


@cache
def flops(run: str) -> float:
    """Operations of one window, from measured/flops.csv; infinite where nobody counted."""
    counted = catalog().paper_folder(run.split("/")[0]) / "measured/flops.csv"
    with counted.open(encoding="utf-8", newline="") as stream:
        found = [float(line["flops_complete"]) for line in csv.DictReader(stream) if line["run"] == run]
    return found[0] if found else float("inf")


def latency_runs(form: Form) -> list[str]:
    runs = sorted(timed_runs(), key=flops)
    return runs[:1] if form.small else runs


def time_column(form: Form, run: str, left: float) -> Values:
    """Seconds for one scan, as `retable latency` measures them, with as many scans (three at most) as fit."""
    config = catalog().run(run, form.scale)
    volume = (32, 32, 32) if form.small else latency.SCAN
    repeats = 1 if form.small else max(1, min(3, int(left / max(scan_seconds(form, run), 1e-9)) // 2))
    line = latency.measure(
        timed_runs()[run], config, volume=volume, device=torch.device(form.device), repeats=repeats, window_batch=None
    )
    if line.seconds is None:
        raise RuntimeError(line.note)
    return {name: value for name, value in vars(line).items() if value not in (None, "")}


PARTS = (
    Part("scan is equal", scan_backends, scan_difference, checks=True),
    Part("soft moe is equal", lambda form: ["streamed"], soft_moe_difference, checks=True),
    Part("scripts", lambda form: list(SCRIPTS), run_script, share=0.4),
    Part("training step", step_runs, training_step, share=0.5),
    Part("time column", latency_runs, time_column, expected=scan_seconds),
)
