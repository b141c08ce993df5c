"""`retable export results`: every rebuilt cell of a results folder, as one csv or as records of "Every Eval Ever".

Read from the compare.csv of each table, so that what is exported is what the tables show.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchmark.catalog.catalog import Catalog
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from benchmark.evidence.csv_files import read_compare
from benchmark.evidence.verdict import INTERVAL_LEVEL
from benchmark.files import csv_text, write_json, write_text
from benchmark.layout import Layout
from benchmark.progress import say
from benchmark.settings import Scale
from benchmark.version import code_version

FORMATS = ("csv", "every-eval-ever")
SCHEMA_VERSION = "0.2.1"  # of eval.schema.json in github.com/evaleval/every_eval_ever, read on 2026-11-30
BOUNDED = {"": 1.0, "%": 100.0}  # largest score in units whose scores have one; that schema asks for it
REPOSITORY = "Retable"
DETAILS = (
    "target", "row", "published", "verdict", "reading", "scale", "settings", "convention", "code_version", "runs",
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Where a cell stands and what it measures.

    Attributes:
        scale: demo and pilot results are not comparable with published ones.
    """

    paper: str
    target: str
    row: str
    column: str
    measure: str
    metric: str
    unit: str
    better: str
    dataset: str
    scale: str


@dataclass(frozen=True)
class Result(Measured):
    """One rebuilt cell: its own fields are columns of compare.csv.

    Attributes:
        settings: digest of the settings that it was made with (`config_digest` there), one per seed.
    """

    published: str
    rebuilt: str
    spread: str
    n: str
    seeds: str
    interval_lower: str
    interval_upper: str
    interval_over: str
    delta: str
    band: str
    verdict: str
    reading: str
    convention: str
    runs: str
    settings: str
    code_version: str
    origin: str


# Field of a result → its column of compare.csv.
TAKEN = {one.name: one.name for one in fields(Result)[len(fields(Measured)) :]} | {"settings": "config_digest"}


def rebuilt_results(catalog: Catalog, layout: Layout, scale: Scale) -> Iterator[Result]:
    """Every cell of every table of the folder for which there is a value of ours, in the catalog's order."""
    for target in catalog.targets.values():
        lines = read_compare(Path(layout.root) / f"{target.target}.compare.csv", tuple(TAKEN.values()))
        for (row, name), line in lines.items():
            column = target.columns.get(name)
            if column is None or not line["rebuilt"]:
                continue
            runs = line["runs"].split()
            yield Result(
                paper=target.paper,
                target=target.target,
                row=row,
                column=name,
                measure=column.measure,
                metric=str(column.metric or ""),
                unit=column.unit,
                better=column.better,
                dataset=catalog.run(runs[0], scale).dataset if runs else "",
                scale=scale,
                **{field: line[taken] for field, taken in TAKEN.items()},
            )


def export_results(catalog: Catalog, layout: Layout, scale: Scale, to: str, out: Path) -> None:
    """Write `out`: a csv, or a folder data/<table>/<paper>/<model>/<id>.json.

    Raises:
        InputError: nothing is rebuilt in the results folder.
    """
    results = list(rebuilt_results(catalog, layout, scale))
    if not results:
        raise InputError(
            "nothing is rebuilt here",
            where=layout.root,
            expected="<target>.compare.csv of tables with a value of ours",
            remedy="build a table, or say which results: --scale demo, --results DIR",
        )
    if to == "csv":
        names = [field.name for field in fields(Result)]
        write_text(out, csv_text([names, *([str(value) for value in asdict(one).values()] for one in results)]))
        say(f"{len(results)} rebuilt cells of {len({one.target for one in results})} tables: {out}")
        return
    records = list(evaluation_records(catalog, results))
    for place, record in records:
        write_json(out / place, record)
    cells = sum(len(record["evaluation_results"]) for _, record in records)
    say(
        f"{cells} of {len(results)} rebuilt cells in {len(records)} records: {out}; the others are no scores with a "
        "largest value, which the schema asks for"
    )


def evaluation_records(catalog: Catalog, results: list[Result]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, record): one per table and model, with its scores that have a largest value."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for one in results:
        if (
            one.measure in ("score", "average")
            and one.runs
            and one.unit in BOUNDED
            and _number(one.rebuilt) is not None
        ):
            groups.setdefault((one.target, one.runs.split()[0].split("/")[2]), []).append(one)
    for (target, model), cells in groups.items():
        name = f"{cells[0].runs.split()[0].split('/')[0]}/{model}"
        identity = f"{target}/{name}/{cells[0].scale}"
        place = f"data/{target}/{name}/{uuid.uuid5(uuid.NAMESPACE_URL, identity)}.json"
        yield place, _record(catalog, target, name, cells)


def _record(catalog: Catalog, target: str, model: str, cells: list[Result]) -> dict[str, Any]:
    now, own = f"{time.time():.0f}", catalog.papers[model.split("/")[0]].paper
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{target}/{model}/{now}",
        "retrieved_timestamp": now,
        "source_metadata": {
            "source_name": f"{REPOSITORY}: {catalog.target(target).title}",
            "source_type": "evaluation_run",
            "source_organization_name": REPOSITORY,
            "evaluator_relationship": "first_party" if own.source == "ours" else "third_party",
        },
        "eval_library": {"name": "retable", "version": code_version()},
        "model_info": {"name": model.split("/")[1], "id": model, "developer": own.title},
        "evaluation_results": [_evaluation(cell) for cell in cells],
    }


def _evaluation(cell: Result) -> dict[str, Any]:
    details = {key: str(getattr(cell, key)) for key in DETAILS if getattr(cell, key)}
    score: dict[str, Any] = {"score": _number(cell.rebuilt), "details": details}
    lower, upper = _number(cell.interval_lower), _number(cell.interval_upper)
    if lower is not None and upper is not None:
        interval = {
            "lower": lower,
            "upper": upper,
            "confidence_level": INTERVAL_LEVEL,
            "method": f"over {cell.interval_over}",
        }
        score["uncertainty"] = {"confidence_interval": interval, "num_samples": int(cell.n)}
    return {
        "evaluation_name": cell.column,
        "source_data": _source(cell.dataset),
        "metric_config": {
            "evaluation_description": f"{cell.metric or 'mean of columns'}, convention {cell.convention or 'see runs'}",
            "lower_is_better": cell.better == "lower",
            "score_type": "continuous",
            "min_score": 0.0,
            "max_score": BOUNDED[cell.unit],
        },
        "score_details": score,
    }


def _source(name: str) -> dict[str, Any]:
    dataset = get_dataset(name)
    if dataset.homepage.startswith("http"):
        return {"dataset_name": dataset.title, "source_type": "url", "url": [dataset.homepage]}
    return {"dataset_name": dataset.title, "source_type": "other"}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
