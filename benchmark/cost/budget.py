"""GPU-hours and disk of runs and datasets, estimated before anything starts. Needs no torch.

Method: operations = flops_complete of one forward pass × passes × samples; hours = operations ÷ sustained throughput.
The assumptions are data, in budget.yaml beside this file, with their reasons; counts come from
paper_tables/<paper>/measured/flops.csv, written by `retable cost --table`. Another card than the one that they are for
is given by its `rate`: a factor, or how fast it was seen to train.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import Field

from benchmark.datasets import Dataset
from benchmark.errors import InputError
from benchmark.files import load_yaml
from benchmark.settings import RunConfig, Settings

FLOAT_BYTES = 4
# Of a card: how many times as fast as the assumed one it is, or run → samples per second that one of it trained.
Rate = float | Mapping[str, float]


class LimitAssumptions(Settings):
    """From an estimate to what a job asks for: see limits.py."""

    factor: float = Field(description="Limit of the first attempt, in estimates")
    shortest_minutes: dict[str, int] = Field(description="At least so much, by stage")


class Assumptions(Settings):
    """Content of budget.yaml."""

    sustained_tflops: dict[str, float] = Field(description="TFLOP/s by precision, on one GPU")
    hardware: str = Field(description="The GPU that these are for")
    passes_per_training_step: float = Field(description="Cost of a training step in forward passes")
    windows_per_volume: int = Field(description="Windows of a typical volume")
    weights_per_checkpoint: int = Field(description="Float32 numbers per parameter in a checkpoint")
    checkpoints_kept: int
    prepared_bytes_per_archive_byte: float
    time_limits: LimitAssumptions


@dataclass(frozen=True)
class Counted:
    """What is known of a run's network: numbers of parameters, operations of one forward pass."""

    parameters: int
    flops_complete: int


@dataclass(frozen=True)
class RunBudget:
    """Estimate for one run; None where its network has not been counted.

    Attributes:
        steps: optimiser steps.
        training_hours, prediction_hours: GPU-hours, summed over the devices.
        disk_bytes: checkpoints and final weights.
    """

    steps: int
    training_hours: float | None
    prediction_hours: float | None
    disk_bytes: int | None

    @property
    def gpu_hours(self) -> float | None:
        if self.training_hours is None or self.prediction_hours is None:
            return None
        return self.training_hours + self.prediction_hours


@dataclass(frozen=True)
class DatasetBudget:
    """Estimate for one dataset, in bytes: what is downloaded, unpacked, and stored prepared; None where not known."""

    download_bytes: int | None
    unpacked_bytes: int | None
    prepared_bytes: int | None


@cache
def assumptions() -> Assumptions:
    return Assumptions.model_validate(load_yaml(Path(__file__).with_name("budget.yaml").read_text("utf-8")))


def counted_networks(paper_folder: str | Path) -> dict[str, Counted]:
    """Counts by run id, from measured/flops.csv of a paper; empty where there is no such file.

    Raises:
        InputError: the file lacks a column or holds something else than numbers.
    """
    path = Path(paper_folder) / "measured" / "flops.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as stream:
        try:
            return {
                line["run"]: Counted(int(line["parameters"]), int(line["flops_complete"]))
                for line in csv.DictReader(stream)
                if line["flops_complete"]
            }
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(
                "the file of counted networks is damaged", where=path, found=error,
                remedy="write it again: retable cost --table",
            ) from None  # fmt: skip


def add_rate_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rate",
        nargs="+",
        metavar="RATE",
        help="of your GPU: a factor (2: twice as fast as the assumed card), or RUN=SAMPLES_PER_SECOND of trainings "
        "that you timed on one GPU (samples_per_second in a run's log.csv)",
    )


def rate_of(arguments: argparse.Namespace) -> Rate:
    """The rate of a command line; 1 where none is given.

    Raises:
        InputError: a word is neither a positive number nor RUN=positive number, or there are several factors.
    """
    words = arguments.rate or ["1"]
    rates = dict(word.rpartition("=")[::2] for word in words)
    try:
        numbers = {run: float(number) for run, number in rates.items()}
    except ValueError:
        numbers = {"": math.nan}
    wrong = any(not 0 < number < math.inf for number in numbers.values())
    if wrong or len(rates) < len(words) or ("" in numbers and len(words) > 1):
        raise InputError(
            "not the rate of a GPU", where="--rate", expected="one positive number, or RUN=SAMPLES_PER_SECOND",
            found=" ".join(words),
        )  # fmt: skip
    return numbers.get("", numbers)


def rate_words(rate: Rate) -> str:
    """The rate as `--rate` takes it; empty where it is 1."""
    if isinstance(rate, Mapping):
        return " ".join(f"{run}={number:g}" for run, number in rate.items())
    return "" if rate == 1 else f"{rate:g}"


def assumed_samples_per_second(config: RunConfig, counted: Counted) -> float:
    """How many samples the assumed card trains in a second."""
    operations = assumptions().passes_per_training_step * counted.flops_complete
    return assumptions().sustained_tflops[config.training.precision] * 1e12 / operations


def run_budget(
    config: RunConfig, counted: Counted | None, *, training_samples: int, predicted_cases: int, speed: float = 1.0
) -> RunBudget:
    """Estimate one run.

    Args:
        config: resolved settings; steps, batch, precision and windows are read from it.
        counted: its network, as counted on the training patch.
        training_samples: cases or slices of one epoch.
        predicted_cases: images of the test set.
        speed: of the card, in assumed ones.
    """
    steps = config.training.total_steps(training_samples)
    if counted is None:
        return RunBudget(steps, None, None, None)
    assumed, inference = assumptions(), config.inference
    windows = assumed.windows_per_volume if inference.method == "sliding_window" else 1
    copies = 2 ** len(config.training.patch) if inference.mirror else 1
    trained = assumed.passes_per_training_step * steps * config.training.batch
    return RunBudget(
        steps=steps,
        training_hours=_hours(counted.flops_complete * trained, config.training.precision) / speed,
        prediction_hours=_hours(counted.flops_complete * predicted_cases * windows * copies, inference.precision)
        / speed,
        disk_bytes=FLOAT_BYTES * counted.parameters * (1 + assumed.weights_per_checkpoint * assumed.checkpoints_kept),
    )


def dataset_budget(dataset: Dataset) -> DatasetBudget:
    """Estimate one dataset's disk; all zero where it cannot be downloaded."""
    download, share = dataset.download_bytes, assumptions().prepared_bytes_per_archive_byte
    return DatasetBudget(
        download_bytes=download,
        unpacked_bytes=dataset.unpacked_bytes,
        prepared_bytes=None if download is None else round(download * share),
    )


def _hours(operations: float, precision: str) -> float:
    return operations / (assumptions().sustained_tflops[precision] * 1e12) / 3600
