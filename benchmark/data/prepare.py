"""Raw cases to the prepared-case store, in worker processes; a case that is done with the same settings is kept.

Per case: read image and masks → reorient → resample → clip and normalise → crop → store; the merged label map also
goes to `references/<case>.nii.gz` on the raw grid, which is what predictions are scored against (where a data set
scores instances: these).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from benchmark.data import geometry
from benchmark.data.plan import UNPLANNED, Plan, plan_for
from benchmark.data.prepared_grid import to_prepared_grid
from benchmark.data.raw_files import (
    PreparedDigests,
    RawCase,
    digest_of_cases,
    raw_cases,
    training_content,
)
from benchmark.data.source import load_source
from benchmark.data.split import SPLITS, read_split
from benchmark.data.store import finish_store, write_case
from benchmark.data.store_digests import case_digests, store_made
from benchmark.datasets import Case, Dataset, get_dataset
from benchmark.datasets.base import IGNORED
from benchmark.errors import InputError
from benchmark.files import DISK_FULL, atomic_path, read_json
from benchmark.forced import take_forced
from benchmark.images.geometry import same_affine, voxel_sides
from benchmark.progress import say, track
from benchmark.settings import Preparation, PreparedData
from benchmark.workers import map_processes


@dataclass(frozen=True)
class Task:
    """All that one worker needs to prepare one case."""

    store: PreparedData
    case: Case
    split: str
    folder: Path
    digests: PreparedDigests
    plan: Plan = UNPLANNED

    @property
    def multiple_of(self) -> tuple[int, ...] | None:
        """Patch that the crop is enlarged to a multiple of: training cases only, as in the released loader."""
        return self.store.patch if self.split == "train" else None

    @property
    def reference(self) -> Path:
        return self.folder / "references" / f"{self.case.id}.nii.gz"

    def is_done(self) -> bool:
        path = self.folder / "cases" / f"{self.case.id}.json"
        try:
            return self.reference.exists() and read_json(path).get("digests") == self.digests._asdict()
        except (OSError, ValueError, AttributeError):  # not there, or damaged: it is prepared again
            return False


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
    store = PreparedData(
        dataset=dataset.name,
        labels=None if labels is None else tuple(labels),
        preparation=preparation,
        patch=tuple(patch) if patch is not None and preparation.pad_to_patch_multiple else None,
        planes=planes,
    )
    plan = UNPLANNED
    if preparation.planned:
        training, content = [found[case] for case in sorted(split["train"])], training_content(raw, split)
        plan = _planned(dataset, store, training, content, folder=out.parent, processes=processes)
    digests = case_digests(store, raw, split)
    tasks = [Task(store, found[case], part, out.parent, digests[case], plan) for case, part in wanted.items()]
    remaining = [task for task in tasks if anew or not task.is_done()]
    say(f"{dataset.name}: {len(tasks) - len(remaining)} of {len(tasks)} cases are prepared already")
    overlaps = sum(
        track(
            map_processes(prepare_case, remaining, processes=processes),
            total=len(remaining),
            description=f"preparing {dataset.name}",
        )
    )
    if overlaps:
        say(f"{overlaps} voxels are in two masks; the later structure of the label order has them")
    unlabelled = any(found[case].ignore is not None for case in wanted)
    return finish_store(
        out.parent,
        dataset=dataset.name,
        preparation=preparation.model_dump(mode="json"),
        label_names=store.labels or dataset.label_names,
        channels=dataset.channels,
        cases=list(wanted),
        made={**store_made(store), "cases": digest_of_cases(digests, "case")},
        **({"plan": plan.model_dump(mode="json")} if preparation.planned else {}),
        **({"ignore_label": IGNORED} if unlabelled else {}),
    )


def _planned(
    dataset: Dataset,
    store: PreparedData,
    training: Sequence[Case],
    content: str,
    *,
    folder: Path,
    processes: int | None,
) -> Plan:
    """What is planned from the training cases, kept in the store's folder; raises InputError where that is nothing."""
    path, preparation = folder / "fingerprint.json", store.preparation
    plan = plan_for(
        dataset, training, preparation, labels=store.labels, content=content, path=path, processes=processes
    )
    _check_slices(plan, preparation, store.planes)
    return plan


def _find(dataset: Dataset, root: Path, wanted: Iterable[str]) -> dict[str, Case]:
    """The cases by id. Raises InputError if one that is wanted is not there."""
    found = {case.id: case for case in dataset.find_cases(root)}
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise InputError("the split names cases that are not there", where=root, found=missing[:5], expected="folders")
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


def prepare_case(task: Task) -> int:
    """Prepare one case and write it; returns the number of voxels that lay in two masks.

    Raises:
        InputError: image and masks do not fit together, or the disk is full.
    """
    dataset, case = get_dataset(task.store.dataset), task.case
    image, affine = dataset.load_image(case)
    merged, label_affine, overlaps = dataset.read_labels(case)
    if merged.shape != image.shape[1:] or not same_affine(affine, label_affine):
        raise InputError(
            "image and masks differ in geometry",
            where=case.images[0],
            expected=image.shape[1:],
            found=merged.shape,
            remedy="run `retable verify`: it lists every fault of every case",
        )
    _check_image(dataset, case, image)
    meta = describe_case(dataset, case, merged, affine)
    labels = dataset.restrict(merged, task.store.labels)
    try:
        _write_reference(task.reference, *(dataset.read_reference(case) or (labels, affine)))
        image, labels, grid = to_prepared_grid(
            image, labels, affine, preparation=task.store.preparation, plan=task.plan, multiple_of=task.multiple_of
        )
        meta |= {} if dataset.chosen_split else {"split": task.split}
        meta |= {**grid, "overlapping_voxels": overlaps, "digests": task.digests._asdict()}
        write_case(
            task.folder,
            case.id,
            image,
            labels,
            meta,
            background_above=task.store.preparation.foreground_above,
            ignored=case.ignore is not None or task.store.preparation.outside == "ignored",
            planes=task.store.planes,
        )
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise InputError(
            f"the disk is full while preparing {case.id}",
            where=task.folder,
            remedy="free space and run again: finished cases are kept, no half-written file is left",
        ) from error
    return overlaps


def _check_image(dataset: Dataset, case: Case, image: np.ndarray) -> None:
    """What `verify` would have said, where it was not run."""
    finite = image.dtype.kind != "f" or bool(np.isfinite(image).all())
    if len(image) == len(dataset.channels) and finite:
        return
    raise InputError(
        "the image is not finite" if not finite else "channels differ",
        where=case.images[0],
        expected="finite voxels" if not finite else ", ".join(dataset.channels),
        found="NaN or infinity" if not finite else f"{len(image)} channels in {len(case.images)} files",
        remedy="run `retable verify`: it lists every fault of every case",
    )


def describe_case(dataset: Dataset, case: Case, merged: np.ndarray, affine: np.ndarray) -> dict[str, Any]:
    """The part of the metadata that is known on the raw grid."""
    counts = np.bincount(merged.reshape(-1), minlength=len(dataset.label_names) + 1)[1 : len(dataset.label_names) + 1]
    volumes = dict(zip(dataset.label_names, counts.tolist(), strict=True))
    extent = tuple(side * mm for side, mm in zip(merged.shape, voxel_sides(affine)[: merged.ndim], strict=True))
    if merged.ndim == 3:
        extent = geometry.reordered(extent, geometry.axis_codes(affine), "RAS")
    return {
        "patient": case.patient,
        "attributes": {**case.attributes, **dataset.describe(volumes, extent)},
        "raw": {"shape": list(merged.shape), "affine": np.asarray(affine).tolist()},
    }


def _write_reference(path: Path, labels: np.ndarray, affine: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        nibabel.Nifti1Image(labels, affine).to_filename(temporary)


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
