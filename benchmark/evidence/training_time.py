"""How long our own trainings took: sums over their logs."""

from __future__ import annotations

import csv
from pathlib import Path

from benchmark.catalog.catalog import Catalog
from benchmark.catalog.targets import Target
from benchmark.layout import Layout
from benchmark.settings import Scale


def training_times(catalog: Catalog, target: Target, layout: Layout, scale: Scale) -> dict[str, float]:
    """run → seconds of all trainings that it rests on, pre-trainings included; only runs of which all are finished.

    Nothing is read where the target has no column of training times.
    """
    columns = [name for name, column in target.columns.items() if column.measure == "training_time"]
    runs = dict.fromkeys(run for row in target.rows for name in columns for run in catalog.cell_runs(target, row, name))
    found = {}
    for run in runs:
        trainings = [catalog.run(name, scale) for name in catalog.trainings(run, scale)]
        records = [Path(layout.trained(training.run)) for training in trainings]
        if trainings and all(record.is_file() for record in records):
            logs = zip(records, trainings, strict=True)
            found[run] = sum(
                seconds_of(record.with_name("log.csv"), training.training.batch) for record, training in logs
            )
    return found


def seconds_of(log: Path, batch: int) -> float:
    """Sum of the steps' times of a log.csv; `batch`: samples per step."""
    with log.open(newline="", encoding="utf-8") as stream:
        return sum(batch / float(row["samples_per_second"]) for row in csv.DictReader(stream))
