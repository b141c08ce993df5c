"""The page's cases: scores of every single case of a run, pictures of some, and any two rows of a table compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from benchmark import lineage
from benchmark.catalog.catalog import Catalog
from benchmark.catalog.targets import Target
from benchmark.evidence.figures.style import DEMO_NOTE
from benchmark.evidence.measured import CellSource
from benchmark.evidence.resolve import cell_sources
from benchmark.evidence.scores import RunScores
from benchmark.files import read_json
from benchmark.layout import Layout
from benchmark.page.case_scores import ALL_SHOWN, case_means, ranked
from benchmark.page.figure_pictures import data_address
from benchmark.page.numbers import number
from benchmark.page.outlines import BOTH, PREDICTION, REFERENCE
from benchmark.page.pairs import PAIR, pairs_of
from benchmark.page.section import Section
from benchmark.page.templates import render, static
from benchmark.settings import Scale

PICTURE_BYTES = 2_000_000  # of all pictures together, before base64: a page of 160 runs is to stay below 8 MB
ORDER = ("worst", "best", "median", "")  # which pictures come first where not all have room
Sources = Mapping[tuple[str, str], CellSource]
HANDED_IN = "no pictures: its scores were handed in, without predictions"


@dataclass
class Run:
    """A run of the shown targets.

    Attributes:
        rows: where it stands: "Table 1: UNETR".
        measures: (metric, convention) that columns ask of it, in their order.
        missing: why there are no scores.
    """

    run: str
    dataset: str
    rows: list[str] = field(default_factory=list)
    measures: dict[tuple[str, str], None] = field(default_factory=dict)
    missing: str = ""


def cases_section(
    catalog: Catalog,
    layout: Layout,
    scale: Scale,
    targets: Iterable[Target] | None = None,
    *,
    scores: Mapping[str, RunScores],
    outdated: Mapping[str, str] | None = None,
) -> Section:
    """Per-case scores of every scored run, its pictures, and all pairs of rows of every table.

    Args:
        layout: results folder, where `python -m benchmark draw-cases` left the pictures.
        targets: whose runs are shown; all by default.
        scores, outdated: as `benchmark.evidence.table.current_scores` gives them: run → scores of today, and run → what
            has changed since the others were made.
    """
    shown = list(catalog.targets.values() if targets is None else targets)
    sources = {target.target: cell_sources(catalog, target, scale) for target in shown}
    runs = runs_of(shown, sources, outdated or {})
    scored = [_scored(run, scores[run.run]) for run in runs.values() if run.run in scores]
    scored = [entry for entry in scored if entry["measures"]]
    _add_pictures(layout, scored)
    known = {entry["run"] for entry in scored}
    tables = [target for target in shown if target.kind == "table"]
    pairs = [entry for target in tables for entry in pairs_of(catalog, scale, target, sources[target.target], scores)]
    html = render(
        "cases.html",
        style=static("cases.css"),
        demo=DEMO_NOTE if scale == "demo" else "",
        runs=scored,
        pairs=pairs,
        missing=_by_reason(run for run in runs.values() if run.run not in known),
        total=len(runs),
        all_shown=ALL_SHOWN,
        colours={"reference": REFERENCE, "prediction": PREDICTION, "both": BOTH},
    )
    return Section("cases", "Cases", html, {"runs": scored, "tables": pairs, "pair": PAIR}, "cases.js")


def runs_of(targets: Iterable[Target], sources: Mapping[str, Sources], outdated: Mapping[str, str]) -> dict[str, Run]:
    """Every run that a score of these targets rests on, in their order."""
    runs: dict[str, Run] = {}
    for target in targets:
        for (row, name), source in sources[target.target].items():
            column = target.columns[name]
            for run in source.runs if column.measure == "score" else ():
                found = runs.setdefault(run, Run(run, source.dataset, missing=_reason(run, source, outdated)))
                found.measures.setdefault((str(column.metric), source.convention))
                place = f"{target.number}: {row}"
                found.rows += [place] if place not in found.rows else []
    return runs


def _reason(run: str, source: CellSource, outdated: Mapping[str, str]) -> str:
    if run in outdated:
        return f"made with other settings: {outdated[run]}"
    return source.without_scores


def _by_reason(runs: Iterable[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.missing, []).append(run)
    return found


def _scored(run: Run, scores: RunScores) -> dict[str, Any]:
    """What the page knows of a run; `measures` is empty where none of its columns' metrics was scored."""
    measures = [found for names in run.measures for found in _measures(scores, *names)]
    return {"run": run.run, "dataset": run.dataset, "rows": run.rows, "measures": measures, "pictures": [], "note": ""}


def _measures(scores: RunScores, metric: str, convention: str) -> Iterator[dict[str, Any]]:
    """Scores of one metric: structure by structure a value per case, the mean of each case, the worst and the best."""
    matrix = scores.matrix(metric, convention)
    if matrix is None:
        return
    means = case_means(scores, metric, convention)
    order = ranked(means, metric)
    yield {
        "metric": metric,
        "convention": convention,
        "cases": list(matrix.cases),
        "structures": list(matrix.classes),
        "values": [[number(value) for value in column] for column in matrix.values.T.tolist()],
        "means": [number(means[case]) for case in matrix.cases],
        "worst": order[0] if order else None,
        "best": order[-1] if order else None,
        "unpredicted": sorted(matrix.missing),
    }


def _add_pictures(layout: Layout, entries: list[dict[str, Any]]) -> None:
    """The pictures of every run, as far as they have room: the worst case of each first."""
    found = {}
    for entry in entries:
        found[entry["run"]], entry["note"] = _pictures(layout, entry["run"])
    room = PICTURE_BYTES
    for picture in sorted(chain(*found.values()), key=lambda picture: ORDER.index(picture["place"])):
        content = picture.pop("path").read_bytes()
        room -= len(content)
        picture["image"] = data_address(content, "image/png") if room >= 0 else ""
    for entry in entries:
        entry["pictures"] = [picture for picture in found[entry["run"]] if picture["image"]]
        left_out = len(found[entry["run"]]) - len(entry["pictures"])
        if left_out:
            folder = Path(layout.case_pictures(entry["run"])).with_suffix("")
            entry["note"] = f"{left_out} pictures left out, to keep this page small; they are in {folder}"


def _pictures(layout: Layout, run: str) -> tuple[list[dict[str, Any]], str]:
    """What `draw-cases` wrote for a run, and what there is to say of it; nothing that was drawn for other scores."""
    record = Path(layout.case_pictures(run))
    if run in layout.scores or not Path(layout.scores_record(run)).is_file():
        return [], HANDED_IN
    if not record.is_file():
        return [], f"no pictures yet: snakemake {record}"
    if lineage.read_made(record) != lineage.case_pictures(scores=lineage.recorded_digest(layout.scores_record(run))):
        return [], f"its pictures were drawn for other scores and are not shown: snakemake {record}"
    drawn = read_json(record)
    pictures = [{**picture, "path": record.parent / picture.pop("file")} for picture in drawn["pictures"]]
    note = (
        f"{len(pictures)} of {drawn['cases']} cases: the worst, the median one and the best by mean {drawn['metric']}"
    )
    return pictures, note if len(pictures) < drawn["cases"] else ""
