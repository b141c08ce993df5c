"""Everything that this repository asks of one data-centre card, in one call: `speed/gpu.sh` runs it under a time limit.

    python speed/gpu.py --out FOLDER [--budget 520] [--parts "training step" …]
    python speed/gpu.py --out FOLDER --device cpu --small          # the same code on a CPU, seconds

In this order: equal results of the selective scan and of Soft MoE (where they differ, nothing is timed); scripts of
this folder (Triton against mamba-ssm where that can be imported, Soft MoE at 32,768 tokens, SAM's encoder against
Hugging Face's); one training step of each network at the paper's batch per device, with its peak memory; the Time
column, the slowest rows last. FOLDER/gpu.json and gpu.md are written anew after every measurement, and say what was
not reached; so is FOLDER/latency.csv, in the form of `measured/latency.<gpu>.csv`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmark.cost.latency import Latency, record
from benchmark.errors import InputError
from benchmark.files import write_text
from speed.gpu_parts import PARTS, TOLERANCE, Form, Part, Values
from speed.machine import device_name
from speed.table import commit, parse, write_ratios


@dataclass(frozen=True)
class Line:
    """One measurement: its values, or in `note` why there are none."""

    part: str
    item: str
    values: Values = field(default_factory=dict)
    note: str = ""

    @property
    def differs(self) -> bool:
        difference = self.values.get("difference", 0.0)
        return not float(difference) <= TOLERANCE


@dataclass
class Report:
    """What was measured, what is still to come, and where it is kept."""

    folder: Path
    circumstances: dict[str, str]
    waiting: list[tuple[str, str]]
    lines: list[Line] = field(default_factory=list)

    def add(self, line: Line) -> None:
        self.lines.append(line)
        self.waiting.remove((line.part, line.item))
        self.write()
        if line.part == "time column" and line.values:
            record(self.folder / "latency.csv", Latency(**line.values))  # type: ignore[arg-type]

    def write(self) -> None:
        content = {
            "circumstances": self.circumstances,
            "measured": [asdict(line) for line in self.lines],
            "not_reached": [{"part": part, "item": item} for part, item in self.waiting],
        }
        write_text(self.folder / "gpu.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        write_text(self.folder / "gpu.md", self.table())

    def table(self) -> str:
        rows = [f"| {line.part} | {line.item} | {line.note or described(line.values)} |" for line in self.lines]
        missing = [f"- {part}: {item}" for part, item in self.waiting]
        facts = "; ".join(f"{name} {value}" for name, value in self.circumstances.items())
        head = "| part | measured | values |\n|---|---|---|"
        tail = ["", "Not reached:", "", *missing] if missing else ["", "Everything was reached."]
        return "\n".join([facts, "", head, *rows, *tail, ""])


def described(values: Values) -> str:
    return "; ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
    )


def measured(part: Part, item: str, form: Form, left: float) -> Line:
    """One line; what is not installed or does not fit becomes a note."""
    try:
        return Line(part.name, item, part.measure(form, item, left))
    except torch.OutOfMemoryError:
        return Line(part.name, item, note="out of device memory")
    except (ImportError, RuntimeError, InputError) as error:
        return Line(part.name, item, note=str(error).strip().splitlines()[0])


def measure_all(report: Report, form: Form, parts: Sequence[Part], budget: float) -> bool:
    """Fill the report until the seconds are over; False where results differ, which ends it."""
    end = time.monotonic() + budget
    for part in parts:
        own_end = time.monotonic() + part.share * (end - time.monotonic())
        for item in [item for name, item in report.waiting if name == part.name]:
            left = own_end - time.monotonic()
            if left <= part.expected(form, item):
                continue
            line = measured(part, item, form, left)
            report.add(line)
            print(
                f"{end - time.monotonic():6.0f} s left  {part.name}: {item}: {line.note or described(line.values)}",
                flush=True,
            )
            gc.collect()
            if form.device != "cpu":
                torch.cuda.empty_cache()
            if part.checks and line.differs:
                print(f"results differ by more than {TOLERANCE}: times would say nothing", file=sys.stderr)
                return False
    return True


def circumstances(form: Form, budget: float) -> dict[str, str]:
    return {
        "machine": device_name(form.device),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit(),
        "torch": torch.__version__,
        "CUDA": torch.version.cuda or "none",
        "Python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}",
        "budget": f"{budget:.0f} s" + (" in small form" if form.small else ""),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), help="folder of gpu.json, gpu.md, latency.csv")
    parser.add_argument("--budget", type=float, default=520.0, help="seconds after which nothing new begins")
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--parts", nargs="+", choices=[part.name for part in PARTS], help="default: all")
    arguments = parse(parser, small={"device": "cpu", "budget": 600.0})
    if arguments.device != "cpu" and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu --small tries the script out")
    form = Form(arguments.device, arguments.small)
    parts = [part for part in PARTS if not arguments.parts or part.name in arguments.parts]
    waiting = [(part.name, item) for part in parts for item in part.items(form)]
    report = Report(arguments.out, circumstances(form, arguments.budget), waiting)
    report.write()
    agreed = measure_all(report, form, parts, arguments.budget)
    write_ratios(arguments, [])  # the scripts behind it have their own rows
    print(report.table())
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
