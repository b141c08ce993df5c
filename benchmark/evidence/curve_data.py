"""What figures of trainings draw: the logged losses behind the rows of a table."""

from __future__ import annotations

import csv
from pathlib import Path

from benchmark.evidence.figure_data import NotDrawable, Request, as_number
from benchmark.evidence.figures.curves import Curve


def curves_of(request: Request) -> dict[str, dict[str, Curve]]:
    """What was learnt on which data → row, or name of a training that is no run → logged loss over steps.

    From the log.csv of every training behind the first seed of each row: pre-trainings and trainings over several
    datasets are drawn once, and losses of different kinds never on one axis.

    Raises:
        NotDrawable: nothing has been trained here.
    """
    panels: dict[str, dict[str, Curve]] = {}
    for training, row in _trainings_of_rows(request).items():
        path = Path(request.layout.trained(training)).with_name("log.csv")
        if not path.is_file():
            continue
        lines = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        steps, losses = ([as_number(line[name]) for line in lines] for name in ("step", "loss"))
        config = request.catalog.run(training, request.scale)
        title = " + ".join(dict.fromkeys(store.dataset for store in config.stores))
        objective = config.training.objective
        title += "" if objective == "segmentation" else f", {objective.replace('_', ' ')}"
        curves = panels.setdefault(title, {})
        protocol, model = training.split("/")[1:3]
        curves[row if row and row not in curves else f"{protocol}/{model}"] = Curve(steps, losses)
    if not panels:
        raise NotDrawable("not run")
    return panels


def _trainings_of_rows(request: Request) -> dict[str, str]:
    """Training → the row that it is the training of; empty for those that serve several rows, or come before one."""
    found: dict[str, str] = {}
    for row in request.target.rows:
        for column in request.target.columns or [None]:
            for run in request.catalog.cell_runs(request.target, row, column)[:1]:
                if request.layout.is_made_here(run):
                    for training in request.catalog.trainings(run, request.scale):
                        found.setdefault(training, row if training == run else "")
    return found
