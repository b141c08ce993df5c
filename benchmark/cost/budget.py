"""GPU-hours and disk of runs and datasets, estimated before anything starts. Needs no torch.

Method: operations = flops_complete of one forward pass × passes × samples; hours = operations ÷ sustained throughput.
The assumptions are data, in budget.yaml beside this file, with their reasons; counts come from
paper_tables/<paper>/measured/flops.csv, written by `retable cost --table`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from pydantic import Field

from benchmark.datasets import Dataset
from benchmark.errors import InputError
from benchmark.settings import RunConfig, Settings

FLOAT_BYTES = 4


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
        return None if self.training_hours is None else self.training_hours + self.prediction_hours


@dataclass(frozen=True)
class DatasetBudget:
    """Estimate for one dataset, in bytes: what is downloaded, unpacked, and stored prepared; None where not known."""

    download_bytes: int | None
    unpacked_bytes: int | None
    prepared_bytes: int | None


@cache
def assumptions() -> Assumptions:
    return Assumptions.model_validate(yaml.safe_load(Path(__file__).with_name("budget.yaml").read_text("utf-8")))


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


def run_budget(config: RunConfig, counted: Counted | None, *, training_samples: int, predicted_cases: int) -> RunBudget:
    """Estimate one run.

    Args:
        config: resolved settings; steps, batch, precision and windows are read from it.
        counted: its network, as counted on the training patch.
        training_samples: cases or slices of one epoch.
        predicted_cases: images of the test set.
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
        training_hours=_hours(counted.flops_complete * trained, config.training.precision),
        prediction_hours=_hours(counted.flops_complete * predicted_cases * windows * copies, inference.precision),
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
