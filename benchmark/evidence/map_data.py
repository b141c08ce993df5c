"""What figures of trained networks draw: maps of receptive fields and of features, and whether they are current."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import lineage
from benchmark.errors import InputError
from benchmark.evidence.figure_data import NO_NUMBERS, NotDrawable, Request
from benchmark.evidence.resolve import cell_sources
from benchmark.files import read_json
from benchmark.lineage import Made


@dataclass(frozen=True)
class ReceptiveFields:
    """Row → contribution map [H, W], row → why it has none, and what the maps are means over."""

    maps: dict[str, np.ndarray]
    missing: dict[str, str]
    note: str


def receptive_fields_of(request: Request) -> ReceptiveFields:
    """The maps that `retable receptive-field` wrote for the rows' runs.

    Raises:
        NotDrawable: no row has one; with the reason of the first.
        InputError: a map was made with another configuration of its run, or has no record beside it.
    """
    if request.published_only:
        raise NotDrawable(NO_NUMBERS)
    sources = cell_sources(request.catalog, request.target, request.scale)
    maps: dict[str, np.ndarray] = {}
    missing: dict[str, str] = {}
    notes: dict[str, None] = {}
    for row in request.target.rows:
        source = sources[row, next(iter(request.target.columns))]
        path = Path(request.layout.receptive_field(source.runs[0])) if source.runs else None
        if path is None or not path.is_file():
            begun = Path(request.layout.source(source.dataset)).is_file()
            missing[row] = "not run" if begun else source.without_scores
            continue
        record = _map_record(path, request, source.runs[0], lineage.receptive_field)
        field = np.load(path, allow_pickle=False)
        planes = request.catalog.run(source.runs[0], request.scale).inference.method == "slices"
        maps[row] = field.T if planes else field  # a slice of a volume has its columns first
        notes[f"mean of {record['samples']} samples, {record['contribution']} part of the gradient"] = None
    if not maps:
        raise NotDrawable("; ".join(dict.fromkeys(missing.values())) or "no row names a run")
    return ReceptiveFields(maps, missing, "; ".join(notes))


def _map_record(path: Path, request: Request, run: str, made_of: Callable[..., Made]) -> dict[str, Any]:
    """What a map was made from.

    Args:
        made_of: of `lineage`, says what makes such a map; weights, cases and options are the workflow's to compare.

    Raises:
        InputError: nothing says so, or it was made with other settings or other code.
    """
    beside = path.with_suffix(".json")
    record = read_json(beside) if beside.is_file() else {}
    wanted = made_of(request.catalog.run(run, request.scale), weights="", data="", options="")
    wanted = {key: value for key, value in wanted.items() if key not in ("weights", "data", "options")}
    made = {key: record.get("made", {}).get(key) for key in wanted}
    if made != wanted:
        raise InputError(
            "a map was made with other settings",
            where=path,
            found=lineage.difference(made, wanted),
            remedy="run the workflow again, or the command that made it",
        )
    return record


@dataclass(frozen=True)
class ShownFeatures:
    """Name → pictures of the figure's run, as `retable features` wrote them, and what they are."""

    maps: dict[str, np.ndarray]
    note: str


def features_of(request: Request) -> ShownFeatures:
    """The features of the run of the figure's only row.

    Raises:
        NotDrawable: they have not been made; with the reason.
        InputError: they were made with other code, or nothing says how.
    """
    if request.published_only:
        raise NotDrawable(NO_NUMBERS)
    row, column = next(iter(request.target.rows)), next(iter(request.target.columns))
    source = cell_sources(request.catalog, request.target, request.scale)[row, column]
    path = Path(request.layout.features(source.runs[0]))
    if not path.is_file():
        begun = Path(request.layout.source(source.dataset)).is_file()
        raise NotDrawable("not run" if begun else source.without_scores)
    record = _map_record(path, request, source.runs[0], lineage.features)
    with np.load(path, allow_pickle=False) as stored:
        maps = {name: upright(stored[name], record["axes"]) for name in stored.files}
    reduction = {"component": "first principal component over the places", "mean": "mean over channels"}
    note = f"Middle slices of {', '.join(record['cases'])}. Maps: {reduction[record['reduction']]}; attention of the "
    return ShownFeatures(maps, note + "structures' tokens in the decoder's last layer. Each picture has its own scale.")


def upright(maps: np.ndarray, axes: str) -> np.ndarray:
    """Slices [..., x, y] turned as they are looked at: the patient's right at the left, and front up.

    Args:
        axes: where x and y grow to, e.g. "RA"; empty: unknown, and nothing is turned.
    """
    flipped = tuple(axis for axis, code in zip((-2, -1), axes, strict=False) if code in "RAS")
    return np.flip(maps, flipped) if flipped else maps
