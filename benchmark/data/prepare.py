"""Raw cases to the prepared-case store, in worker processes; a case that is done with the same settings is kept.

What is planned from the training cases comes first; each case is done by `prepared_case`; the store's record is last.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.data.plan import UNPLANNED, Plan, plan_for
from benchmark.data.prepared_case import Task, prepare_case
from benchmark.data.raw_files import (
    RawCase,
    digest_of_cases,
    raw_cases,
    training_content,
)
from benchmark.data.source import load_source
from benchmark.data.split import SPLITS, read_split
from benchmark.data.store import finish_store
from benchmark.data.store_digests import case_digests, store_made
from benchmark.datasets import Case, Dataset, get_dataset
from benchmark.datasets.base import IGNORED
from benchmark.errors import InputError
from benchmark.forced import take_forced
from benchmark.progress import say, track
from benchmark.settings import Preparation, PreparedData
from benchmark.workers import map_processes


def prepare(
    dataset: Dataset,
    root: Path,
    split: dict[str, Any],
    preparation: Preparation,
    *,
    out: Path,
    labels: Sequence[str] | None = None,
    patch: Sequence[int] | None = None,
    planes: int | None = None,
    raw: Mapping[str, RawCase] | None = None,
    anew: bool = False,
    processes: int | None = None,
) -> dict[str, Any]:
    """Prepare all cases of a split into the store `out.parent`; `out` (prepared.json) is written last.

    Where something is planned from the training cases, that comes first and is kept in `fingerprint.json` beside it.

    Args:
        dataset, root: whose cases, and where they are.
        split: content of split.json.
        labels: restrict to these structures, numbered 1… in this order.
        patch: training patch, for `pad_to_patch_multiple`.
        planes: axis of volumes along which slices are stored one by one, for 2-D networks; `planned_in_plane` has to
            agree with it.
        raw: digests of the raw files, as `fetch` found them; None: they are read.
        anew: prepare also the cases that are done.

    Returns:
        The content of prepared.json.

    Raises:
        InputError: a case of the split is missing or cannot be prepared, nothing can be planned, or the disk is full.
            Cases done stay.
    """
    wanted = {case: part for part in SPLITS for case in split[part]}
    found, raw = _find(dataset, root, wanted), raw_cases(dataset, root) if raw is None else raw
    store = _store(dataset, preparation, labels=labels, patch=patch, planes=planes)
    plan = _planned(dataset, store, found, raw, split, folder=out.parent, processes=processes)
    digests = case_digests(store, raw, split)
    tasks = [Task(store, found[case], part, out.parent, digests[case], plan) for case, part in wanted.items()]
    _prepare_cases(dataset, tasks, anew=anew, processes=processes)
    made = {**store_made(store), "cases": digest_of_cases(digests, "case")}
    return _finish(dataset, store, tasks, plan, made, folder=out.parent)


def _store(
    dataset: Dataset,
    preparation: Preparation,
    *,
    labels: Sequence[str] | None,
    patch: Sequence[int] | None,
    planes: int | None,
) -> PreparedData:
    return PreparedData(
        dataset=dataset.name,
        labels=None if labels is None else tuple(labels),
        preparation=preparation,
        patch=tuple(patch) if patch is not None and preparation.pad_to_patch_multiple else None,
        planes=planes,
    )


def _planned(
    dataset: Dataset,
    store: PreparedData,
    found: Mapping[str, Case],
    raw: Mapping[str, RawCase],
    split: Mapping[str, Any],
    *,
    folder: Path,
    processes: int | None,
) -> Plan:
    """What is planned from the training cases, kept in the store's folder; raises InputError where that is nothing."""
    if not store.preparation.planned:
        return UNPLANNED
    plan = plan_for(
        dataset,
        [found[case] for case in sorted(split["train"])],
        store.preparation,
        labels=store.labels,
        content=training_content(raw, split),
        path=folder / "fingerprint.json",
        processes=processes,
    )
    _check_slices(plan, store.preparation, store.planes)
    return plan


def _prepare_cases(dataset: Dataset, tasks: Sequence[Task], *, anew: bool, processes: int | None) -> None:
    """The cases that are not done, or all, in worker processes."""
    remaining = [task for task in tasks if anew or not task.is_done()]
    say(f"{dataset.name}: {len(tasks) - len(remaining)} of {len(tasks)} cases are prepared already")
    prepared = map_processes(prepare_case, remaining, processes=processes)
    overlaps = sum(track(prepared, total=len(remaining), description=f"preparing {dataset.name}"))
    if overlaps:
        say(f"{overlaps} voxels are in two masks; the later structure of the label order has them")


def _finish(
    dataset: Dataset, store: PreparedData, tasks: Sequence[Task], plan: Plan, made: dict[str, Any], *, folder: Path
) -> dict[str, Any]:
    """Write the store's record, of cases that are all prepared, and return it."""
    unlabelled = any(task.case.ignore is not None for task in tasks)
    return finish_store(
        folder,
        dataset=dataset.name,
        preparation=store.preparation.model_dump(mode="json"),
        label_names=store.labels or dataset.label_names,
        channels=dataset.channels,
        cases=[task.case.id for task in tasks],
        made=made,
        **({"plan": plan.model_dump(mode="json")} if store.preparation.planned else {}),
        **({"ignore_label": IGNORED} if unlabelled else {}),
    )


def _find(dataset: Dataset, root: Path, wanted: Iterable[str]) -> dict[str, Case]:
    """The cases by id. Raises InputError if one that is wanted is not there."""
    found = {case.id: case for case in dataset.find_cases(root)}
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise InputError(
            f"the split names {len(missing)} cases that are not in the raw data",
            where=root,
            expected=f"files of {', '.join(missing[:5])}" + (", …" if len(missing) > 5 else ""),
            found=f"{len(found)} cases",
            remedy="bring the files back; or run `retable split` and `retable prepare` again, without these cases",
        )
    return found


def _check_slices(plan: Plan, preparation: Preparation, planes: int | None) -> None:
    axes = {planes, plan.slice_axis}
    if not isinstance(preparation.spacing, str) or None in axes or len(axes) == 1:
        return
    raise InputError(
        "slices are not taken along the axis of the coarsest spacing, so the plan is not about them",
        expected=f"inference.slice_axis: {plan.slice_axis}",
        found=planes,
        remedy="set inference.slice_axis, or preparation.orientation so that the slices lie along it",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from benchmark.catalog.arguments import add_run_arguments

    add_run_arguments(parser)
    parser.add_argument("--source", type=Path, required=True, help="source.json written by fetch")
    parser.add_argument("--split", type=Path, required=True, help="split.json written by split")
    parser.add_argument(
        "--preparation", help="which store of those that the run reads; default: that of its test cases"
    )
    parser.add_argument("--out", type=Path, required=True, help="prepared.json to write, in the store's folder")
    parser.add_argument("--processes", type=int, help="worker processes (default: the CPUs of this job)")


def main(arguments: argparse.Namespace) -> None:
    from benchmark.catalog.arguments import run_config
    from benchmark.catalog.reading import pick

    config = run_config(arguments)
    stores = {store.id: store for store in (*config.stores, config.store)}
    store = pick(stores, arguments.preparation or config.store.id, "preparation", config.run)
    source = load_source(arguments.source, store.dataset)
    prepare(
        get_dataset(store.dataset),
        Path(source["root"]),
        read_split(arguments.split),
        store.preparation,
        out=arguments.out,
        labels=store.labels,
        patch=store.patch,
        planes=store.planes,
        raw={case: RawCase(*digests) for case, digests in source["files"].items()},
        anew=take_forced(arguments.out),
        processes=arguments.processes,
    )
