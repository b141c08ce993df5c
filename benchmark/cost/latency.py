"""`latency`: seconds to label one scan of [300, 300, 422] voxels, as Swin SMT's Table 1 and Fig. 3b define it.

Timed is sliding-window inference from the image in main memory to the labels in main memory, with the run's own window,
overlap, weighting and precision; reading and writing files is not. Weights are random: they do not change the time.
Some windows warm the device up, then the median of several whole scans is taken. It needs a GPU; on a CPU the command
is for trying it out (`--device cpu --scale demo --volume 48 48 48`).
"""

from __future__ import annotations

import argparse
import csv
import io
import platform
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import nn

from benchmark.catalog.catalog import Catalog
from benchmark.cost.cost import rows_of_target
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from benchmark.files import write_text
from benchmark.inference.image import predict_image
from benchmark.models.registry import build_for_run
from benchmark.progress import say
from benchmark.settings import RunConfig

SCAN = (300, 300, 422)
WARM_UP_WINDOWS = 3
NO_GPU = "not attempted (no GPU)"


@dataclass(frozen=True)
class Latency:
    """One line of a latency file; without `seconds`, `note` says why.

    Attributes:
        row, run: table row and run id.
        seconds: median over `repeats` scans; `fastest`, `slowest`: their range.
        machine: device, with its memory.
        volume, patch, overlap, window_batch, precision: what was predicted, and how.
        peak_gib: device memory at most, GPU only.
        software: versions of torch and CUDA.
        date: UTC day.
    """

    row: str
    run: str
    seconds: float | None = None
    machine: str = ""
    fastest: float | None = None
    slowest: float | None = None
    repeats: int = 0
    volume: str = ""
    patch: str = ""
    overlap: float | None = None
    window_batch: int | None = None
    precision: str = ""
    peak_gib: float | None = None
    software: str = ""
    date: str = ""
    note: str = ""


def machine_name(device: torch.device) -> str:
    """E.g. "NVIDIA A100-SXM4-40GB, 40 GiB"; the processor type for a CPU."""
    if device.type != "cuda":
        return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"
    properties = torch.cuda.get_device_properties(device)
    return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"


def time_scans(
    network: nn.Module, config: RunConfig, volume: Sequence[int], *, channels: int, device: torch.device, repeats: int
) -> list[float]:
    """Seconds of each of `repeats` whole scans of noise, after warming up."""
    image = torch.rand(channels, *volume, generator=torch.Generator().manual_seed(0))
    window = tuple(slice(side) for side in config.inference.patch or config.training.patch)
    for _ in range(WARM_UP_WINDOWS):
        predict_image(network, image[(slice(None), *window)], config, device=device)
    seconds = []
    for _ in range(repeats):
        _synchronise(device)
        start = time.perf_counter()
        predict_image(network, image, config, device=device)
        _synchronise(device)
        seconds.append(time.perf_counter() - start)
    return seconds


def measure(
    row: str, config: RunConfig, *, volume: Sequence[int], device: torch.device, repeats: int, window_batch: int | None
) -> Latency:
    """Time one run's network; running out of device memory is a note, not an error."""
    if window_batch is not None:
        inference = config.inference.model_copy(update={"window_batch": window_batch})
        config = config.model_copy(update={"inference": inference})
    dataset, inference = get_dataset(config.dataset), config.inference
    classes = len(config.labels or dataset.label_names) + 1
    described = Latency(
        row,
        config.run,
        machine=machine_name(device),
        volume="x".join(map(str, volume)),
        patch="x".join(map(str, inference.patch or config.training.patch)),
        overlap=inference.overlap,
        window_batch=inference.window_batch,
        precision=inference.precision,
        software=f"torch {torch.__version__}, CUDA {torch.version.cuda or 'none'}",
        date=f"{datetime.now(UTC):%Y-%m-%d}",
    )
    channels = len(dataset.channels)
    try:
        network = build_for_run(config, in_channels=channels, out_channels=classes).to(device).eval()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        seconds = time_scans(network, config, volume, channels=channels, device=device, repeats=repeats)
    except torch.OutOfMemoryError:
        return replace(described, note="not attempted (out of device memory)")
    except InputError as error:
        return replace(described, note=f"not attempted ({error.problem})")
    return replace(
        described,
        seconds=round(statistics.median(seconds), 3),
        fastest=round(min(seconds), 3),
        slowest=round(max(seconds), 3),
        repeats=repeats,
        peak_gib=round(torch.cuda.max_memory_allocated(device) / 2**30, 2) if device.type == "cuda" else None,
    )


def timed_rows(catalog: Catalog, models: Sequence[str], target: str | None = None) -> list[tuple[str, str]]:
    """(row, run) of every target with a latency column, or of one of them, each run once; `models` keeps those of
    these names.

    Raises:
        InputError: none of the rows has such a model, or the target has no such column.
    """
    targets = [name for name, one in catalog.targets.items() if one.measures("latency")]
    if target is not None and catalog.target(target).target not in targets:
        raise InputError("a table without a time column", found=target, expected="one of " + ", ".join(targets))
    targets = targets if target is None else [target]
    rows = {run: row for name in targets for row, run in reversed(rows_of_target(catalog, name))}
    known = sorted({run.split("/")[2] for run in rows})
    unknown = set(models) - set(known)
    if unknown:
        raise InputError("no timed row has this model", found=", ".join(sorted(unknown)), expected=", ".join(known))
    return [(row, run) for run, row in rows.items() if not models or run.split("/")[2] in models]


def default_file(catalog: Catalog, run: str, device: torch.device) -> Path:
    """paper_tables/<paper>/measured/latency.<gpu>.csv"""
    gpu = re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name(device).lower()).strip("-")
    return catalog.paper_folder(run.split("/")[0]) / "measured" / f"latency.{gpu}.csv"


def record(path: Path, line: Latency) -> None:
    """Add a line to a latency file, or replace that of the same run; a measured time outlives a failed attempt."""
    lines: dict[str, dict[str, object]] = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as stream:
            lines = {old["run"]: old for old in csv.DictReader(stream)}
    if line.seconds is None and lines.get(line.run, {}).get("seconds"):
        return
    lines[line.run] = asdict(line)
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Latency)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines.values())
    write_text(path, text.getvalue())


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from benchmark.catalog.arguments import add_catalog_arguments, add_record_arguments

    add_record_arguments(parser)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names of paper_tables/<paper>/models.yaml")
    parser.add_argument("--all", action="store_true", help="every row of every table with a time column")
    parser.add_argument("--target", help="every row of this table; needs --out, which is written without a GPU too")
    add_catalog_arguments(parser)
    parser.add_argument("--volume", type=int, nargs="+", default=list(SCAN), help="voxels of the scan")
    parser.add_argument("--repeats", type=int, default=3, help="scans whose median is taken")
    parser.add_argument("--window-batch", type=int, help="windows per forward pass (default: the protocol's)")
    parser.add_argument("--device", help="torch device; default: the GPU, and nothing is measured without one")
    parser.add_argument("--out", type=Path, help="latency file (default: measured/latency.<gpu>.csv of the paper)")


def main(arguments: argparse.Namespace) -> None:
    from benchmark.catalog.arguments import catalog_of

    if not arguments.models and not arguments.all and not (arguments.target and arguments.out):
        raise InputError("nothing to measure", expected="latency MODEL…, latency --all, or --target TARGET --out FILE")
    catalog = catalog_of(arguments)
    rows = timed_rows(catalog, arguments.models, arguments.target)
    if arguments.device is None and not torch.cuda.is_available():
        for row, run in rows:
            print(f"{row}: {NO_GPU}")
            if arguments.target:
                record(arguments.out, Latency(row, run, note=NO_GPU))
        return
    device = torch.device(arguments.device or "cuda")
    comparable = device.type == "cuda" and arguments.scale == "paper" and tuple(arguments.volume) == SCAN
    if arguments.out is None and not comparable:
        raise InputError(
            "this is not the paper's measurement, so it is not stored beside it", remedy="name a file with --out"
        )
    for row, run in rows:
        line = measure(
            row,
            catalog.run(run, arguments.scale),
            volume=arguments.volume,
            device=device,
            repeats=arguments.repeats,
            window_batch=arguments.window_batch,
        )
        record(arguments.out or default_file(catalog, run, device), line)
        say(f"{row}: {line.note or f'{line.seconds:.1f} s on {line.machine}'}")
