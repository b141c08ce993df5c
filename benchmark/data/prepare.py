"""Raw cases to the prepared-case store, in worker processes; a case that is done with the same settings is kept.

Per case: read image and masks → reorient → resample → clip and normalise → crop → store; the merged label map also
goes to `references/<case>.nii.gz` on the raw grid, which is what predictions are scored against (where a data set
scores instances: these).
"""

from __future__ import annotations

import argparse
import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from benchmark.catalog.settings import Preparation
from benchmark.data import geometry
from benchmark.data.normalisation import normalise
from benchmark.data.plan import Plan, plan_for
from benchmark.data.planned_grid import to_planned_grid
from benchmark.data.source import read_source
from benchmark.data.split import SPLITS, read_split
from benchmark.data.store import finish_store, write_case
from benchmark.datasets import Case, Dataset, get_dataset
from benchmark.datasets.nifti import same_affine
from benchmark.errors import InputError
from benchmark.files import atomic_path, read_json, value_digest
from benchmark.progress import say, track
from benchmark.workers import map_processes

FORMAT = 1  # raise when the same settings would give other files
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
UNPLANNED = Plan()


@dataclass(frozen=True)
class Task:
    """All that one worker needs to prepare one case."""

    dataset: str
    case: Case
    split: str
    preparation: Preparation
    labels: tuple[str, ...] | None
    patch: tuple[int, ...] | None
    folder: Path
    plan: Plan = UNPLANNED

    @property
    def multiple_of(self) -> tuple[int, ...] | None:
        """Patch that the crop is enlarged to a multiple of: training cases only, as in the released loader."""
        return self.patch if self.preparation.pad_to_patch_multiple and self.split == "train" else None

    @property
    def digest(self) -> str:
        """Changes with the settings, and with the raw files as far as their sizes tell."""
        sizes = [path.stat().st_size for path in (*self.case.images, *self.case.labels)]
        settings = self.preparation.model_dump(mode="json")
        plan = [self.plan.model_dump(mode="json")] if self.preparation.planned else []
        return value_digest([FORMAT, self.dataset, settings, self.labels, self.multiple_of, self.split, sizes, *plan])

    @property
    def reference(self) -> Path:
        return self.folder / "references" / f"{self.case.id}.nii.gz"

    def is_done(self) -> bool:
        path = self.folder / "cases" / f"{self.case.id}.json"
        return path.exists() and self.reference.exists() and read_json(path).get("digest") == self.digest


def prepare(
    dataset: Dataset,
    root: Path,
    split: dict[str, Any],
    preparation: Preparation,
    *,
    out: Path,
    labels: Sequence[str] | None = None,
    patch: Sequence[int] | None = None,
    slice_axis: int | None = None,
    processes: int | None = None,
) -> dict[str, Any]:
    """Prepare all cases of a split into the store `out.parent`; `out` (prepared.json) is written last.

    Where something is planned from the training cases, that comes first and is kept in `fingerprint.json` beside it.

    Args:
        dataset, root: whose cases, and where they are.
        split: content of split.json.
        labels: restrict to these structures, numbered 1… in this order.
        patch: training patch, for `pad_to_patch_multiple`.
        slice_axis: axis along which a 2-D network takes slices, which must be that of a planned spacing; None: 3-D.

    Returns:
        The content of prepared.json.

    Raises:
        InputError: a case of the split is missing or cannot be prepared, nothing can be planned, or the disk is full.
            Cases done stay.
    """
    found = {case.id: case for case in dataset.find_cases(root)}
    wanted = {case: part for part in SPLITS for case in split[part]}
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise InputError("the split names cases that are not there", where=root, found=missing[:5], expected="folders")
    patch = None if patch is None else tuple(patch)
    labels = None if labels is None else tuple(labels)
    plan = UNPLANNED
    if preparation.planned:
        training = [found[case] for case in sorted(split["train"])]
        path = out.parent / "fingerprint.json"
        plan = plan_for(dataset, training, preparation, labels=labels, path=path, processes=processes)
        _check_slices(plan, preparation, slice_axis)
    tasks = [
        Task(dataset.name, found[case], part, preparation, labels, patch, out.parent, plan)
        for case, part in wanted.items()
    ]
    remaining = [task for task in tasks if not task.is_done()]
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
    return finish_store(
        out.parent,
        dataset=dataset.name,
        preparation=preparation.model_dump(mode="json"),
        label_names=labels or dataset.label_names,
        channels=dataset.channels,
        cases=list(wanted),
        split_digest=split["digest"],
        patch=patch,
        **({"plan": plan.model_dump(mode="json")} if preparation.planned else {}),
    )


def _check_slices(plan: Plan, preparation: Preparation, slice_axis: int | None) -> None:
    axes = {slice_axis, plan.slice_axis}
    if isinstance(preparation.spacing, str) and None not in axes and len(axes) > 1:
        raise InputError(
            "slices are not taken along the axis of the coarsest spacing, so the plan is not about them",
            expected=f"inference.slice_axis: {plan.slice_axis}",
            found=slice_axis,
            remedy="set inference.slice_axis, or preparation.orientation so that the slices lie along it",
        )


def prepare_case(task: Task) -> int:
    """Prepare one case and write it; returns the number of voxels that lay in two masks.

    Raises:
        InputError: image and masks do not fit together, or the disk is full.
    """
    dataset, case = get_dataset(task.dataset), task.case
    image, affine = dataset.load_image(case)
    merged, label_affine, overlaps = dataset.read_labels(case)
    if merged.shape != image.shape[1:] or not same_affine(affine, label_affine):
        raise InputError(
            "image and masks differ in geometry",
            where=case.images[0],
            expected=image.shape[1:],
            found=merged.shape,
            remedy="run `benchmark verify`: it lists every fault of every case",
        )
    meta = describe_case(dataset, case, merged, affine)
    labels = dataset.restrict(merged, task.labels)
    try:
        _write_reference(task.reference, *(dataset.read_reference(case) or (labels, affine)))
        image, labels, grid = to_prepared_grid(
            image, labels, affine, preparation=task.preparation, plan=task.plan, multiple_of=task.multiple_of
        )
        meta |= {**grid, "split": task.split, "overlapping_voxels": overlaps, "digest": task.digest}
        above, left_out = task.preparation.foreground_above, task.preparation.outside == "ignored"
        write_case(task.folder, case.id, image, labels, meta, background_above=above, left_out=left_out)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise InputError(
            f"the disk is full while preparing {case.id}",
            where=task.folder,
            remedy="free space and run again: finished cases are kept, no half-written file is left",
        ) from error
    return overlaps


def describe_case(dataset: Dataset, case: Case, merged: np.ndarray, affine: np.ndarray) -> dict[str, Any]:
    """The part of the metadata that is known on the raw grid."""
    counts = np.bincount(merged.reshape(-1), minlength=len(dataset.label_names) + 1)[1:]
    volumes = dict(zip(dataset.label_names, counts.tolist(), strict=True))
    extent = tuple(side * mm for side, mm in zip(merged.shape, geometry.spacing_of(affine)[: merged.ndim], strict=True))
    if merged.ndim == 3:
        extent = geometry.reordered(extent, geometry.axis_codes(affine), "RAS")
    return {
        "patient": case.patient,
        "attributes": {**case.attributes, **dataset.describe(volumes, extent)},
        "raw": {"shape": list(merged.shape), "affine": np.asarray(affine).tolist()},
    }


def to_prepared_grid(
    image: np.ndarray,
    labels: np.ndarray,
    affine: np.ndarray,
    *,
    preparation: Preparation,
    plan: Plan = UNPLANNED,
    multiple_of: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Reorient, resample, normalise and crop one case. Pictures have no anatomical axes and stay as they are turned.

    Args:
        image, labels, affine: [C, *spatial] in raw units, [*spatial], raw voxel → RAS+ mm.
        plan: of the training cases, where `preparation.planned`.
        multiple_of: enlarge the crop to a multiple of these sides.

    Returns:
        image float32, labels, and what `geometry.restore_labels` needs to come back.
    """
    image, labels, spacing, orientation = geometry.upright(image, labels, affine, preparation.orientation)
    reoriented = labels.shape
    if preparation.resampling is not None:
        image, labels, grid = to_planned_grid(image, labels, spacing, preparation=preparation, plan=plan)
    else:
        image, labels, grid = _to_linear_grid(image, labels, spacing, preparation)
    start, stop = geometry.foreground_box(image, preparation.foreground_above, multiple_of)
    box = grid["nonzero"]
    sides = zip(spacing, box["start"], box["stop"], labels.shape, strict=True)
    grid |= {
        "spacing": [mm * (last - first) / new for mm, first, last, new in sides],
        "crop": {"start": start, "stop": stop},
        "reoriented_shape": list(reoriented),
        "resampled_shape": list(labels.shape),
        "orientation": orientation,
    }
    return geometry.crop(image, start, stop), geometry.crop(labels, start, stop), grid


def _to_linear_grid(
    image: np.ndarray, labels: np.ndarray, spacing: Sequence[float], preparation: Preparation
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Linear interpolation, labels by the nearest voxel, then the intensities."""
    shape = geometry.resampled_shape(labels.shape, spacing, preparation.spacing)
    prepared = np.empty((len(image), *shape), dtype=np.float32)  # filled channel by channel: a large CT is 0.7 GB
    for target, channel in zip(prepared, image, strict=True):
        target[...] = geometry.resize_linear(channel, shape)
    normalise(prepared, preparation)
    whole = {"start": [0] * labels.ndim, "stop": list(labels.shape)}
    return prepared, geometry.resize_nearest(labels, shape), {"nonzero": whole}


def _write_reference(path: Path, labels: np.ndarray, affine: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        nibabel.Nifti1Image(labels, affine).to_filename(temporary)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from benchmark.catalog.arguments import add_run_arguments

    add_run_arguments(parser)
    parser.add_argument("--source", type=Path, required=True, help="source.json written by fetch")
    parser.add_argument("--split", type=Path, required=True, help="split.json written by split")
    parser.add_argument("--out", type=Path, required=True, help="prepared.json to write, in the store's folder")
    parser.add_argument("--processes", type=int, help="worker processes (default: the CPUs of this job)")


def main(arguments: argparse.Namespace) -> None:
    from benchmark.catalog.arguments import run_config

    config = run_config(arguments)
    prepare(
        get_dataset(config.dataset),
        read_source(arguments.source, config.dataset),
        read_split(arguments.split),
        config.preparation,
        out=arguments.out,
        labels=config.labels,
        patch=config.training.patch,
        slice_axis=config.inference.slice_axis if len(config.training.patch) == 2 else None,
        processes=arguments.processes,
    )
