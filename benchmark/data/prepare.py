"""Raw cases to the prepared-case store, in worker processes; a case that is done with the same settings is kept.

Per case: read image and masks → reorient → resample → clip and normalise → crop → store; the merged label map also
goes to `references/<case>.nii.gz` on the raw grid, which is what predictions are scored against (where a data set
scores instances: these).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from benchmark.catalog.settings import Preparation
from benchmark.data import geometry
from benchmark.data.source import read_source
from benchmark.data.split import SPLITS, read_split
from benchmark.data.store import finish_store, write_case
from benchmark.datasets import Case, Dataset, get_dataset
from benchmark.datasets.base import IGNORED
from benchmark.errors import InputError
from benchmark.files import DISK_FULL, atomic_path, read_json, value_digest
from benchmark.images.geometry import same_affine, voxel_sides
from benchmark.progress import say, track
from benchmark.workers import map_processes

FORMAT = 1  # raise when the same settings would give other files


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

    @property
    def multiple_of(self) -> tuple[int, ...] | None:
        """Patch that the crop is enlarged to a multiple of: training cases only, as in the released loader."""
        return self.patch if self.preparation.pad_to_patch_multiple and self.split == "train" else None

    @property
    def digest(self) -> str:
        """Changes with the settings, and with the raw files as far as their sizes tell."""
        sizes = [path.stat().st_size for path in (*self.case.images, *self.case.labels)]
        settings = self.preparation.model_dump(mode="json")
        ignore = [] if self.case.ignore is None else [self.case.ignore]
        return value_digest([FORMAT, self.dataset, settings, self.labels, self.multiple_of, self.split, sizes, *ignore])

    @property
    def reference(self) -> Path:
        return self.folder / "references" / f"{self.case.id}.nii.gz"

    def is_done(self) -> bool:
        path = self.folder / "cases" / f"{self.case.id}.json"
        try:
            return self.reference.exists() and read_json(path).get("digest") == self.digest
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
    processes: int | None = None,
) -> dict[str, Any]:
    """Prepare all cases of a split into the store `out.parent`; `out` (prepared.json) is written last.

    Args:
        dataset, root: whose cases, and where they are.
        split: content of split.json.
        labels: restrict to these structures, numbered 1… in this order.
        patch: training patch, for `pad_to_patch_multiple`.

    Returns:
        The content of prepared.json.

    Raises:
        InputError: a case of the split is missing or cannot be prepared, or the disk is full. Cases done stay.
    """
    found = {case.id: case for case in dataset.find_cases(root)}
    wanted = {case: part for part in SPLITS for case in split[part]}
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise InputError("the split names cases that are not there", where=root, found=missing[:5], expected="folders")
    patch = None if patch is None else tuple(patch)
    labels = None if labels is None else tuple(labels)
    tasks = [
        Task(dataset.name, found[case], part, preparation, labels, patch, out.parent) for case, part in wanted.items()
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
        **({} if all(found[case].ignore is None for case in wanted) else {"ignore_label": IGNORED}),
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
    _check_image(dataset, case, image)
    meta = describe_case(dataset, case, merged, affine)
    labels = dataset.restrict(merged, task.labels)
    try:
        _write_reference(task.reference, *(dataset.read_reference(case) or (labels, affine)))
        image, labels, grid = to_prepared_grid(
            image, labels, affine, preparation=task.preparation, multiple_of=task.multiple_of
        )
        meta |= {**grid, "split": task.split, "overlapping_voxels": overlaps, "digest": task.digest}
        write_case(
            task.folder,
            case.id,
            image,
            labels,
            meta,
            background_above=task.preparation.foreground_above,
            ignore_label=None if case.ignore is None else IGNORED,
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
        remedy="run `benchmark verify`: it lists every fault of every case",
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


def to_prepared_grid(
    image: np.ndarray,
    labels: np.ndarray,
    affine: np.ndarray,
    *,
    preparation: Preparation,
    multiple_of: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Reorient, resample, normalise and crop one case. Pictures have no anatomical axes and stay as they are turned.

    Args:
        image, labels, affine: [C, *spatial] in raw units, [*spatial], raw voxel → RAS+ mm.
        multiple_of: enlarge the crop to a multiple of these sides.

    Returns:
        image float32, labels, and what `geometry.restore_labels` needs to come back.
    """
    spacing = voxel_sides(affine)[: labels.ndim]
    raw_codes, codes = None, preparation.orientation if labels.ndim == 3 else None
    if codes is not None:
        raw_codes = geometry.axis_codes(affine)
        labels = geometry.reorient(labels, raw_codes, codes)
        spacing = geometry.reordered(spacing, raw_codes, codes)
    reoriented = labels.shape
    shape = geometry.resampled_shape(reoriented, spacing, preparation.spacing)
    prepared = np.empty((len(image), *shape), dtype=np.float32)  # filled channel by channel: a large CT is 0.7 GB
    for target, channel in zip(prepared, image, strict=True):
        upright = geometry.reorient(channel, raw_codes, codes) if codes is not None else channel
        target[...] = geometry.resize_linear(upright, shape)
    labels = geometry.resize_nearest(labels, shape)
    normalise(prepared, preparation)
    start, stop = geometry.foreground_box(prepared, preparation.foreground_above, multiple_of)
    grid = {
        "spacing": [mm * old / new for mm, old, new in zip(spacing, reoriented, shape, strict=True)],
        "crop": {"start": start, "stop": stop},
        "reoriented_shape": list(reoriented),
        "resampled_shape": list(shape),
        "orientation": {"raw": raw_codes, "prepared": codes},
    }
    return geometry.crop(prepared, start, stop), geometry.crop(labels, start, stop), grid


def normalise(image: np.ndarray, preparation: Preparation) -> None:
    """Clip and normalise float32 [C, *spatial] in place.

    `unit` maps the window (without one: each channel's own minimum and maximum) to [0, 1]; `zscore` subtracts mean and
    divides by standard deviation per channel, `zscore_nonzero` over voxels other than 0, which stay 0. A constant
    channel becomes 0.
    """
    if preparation.clip is not None:
        np.clip(image, *preparation.clip, out=image)
    if preparation.normalise == "none":
        return
    for channel in image:
        selected = channel != 0 if preparation.normalise == "zscore_nonzero" else np.ones((), dtype=bool)
        if preparation.normalise == "unit":
            low, high = preparation.clip or (float(channel.min()), float(channel.max()))
            offset, scale = low, high - low
        else:
            values = channel[selected]
            offset, scale = (float(values.mean()), float(values.std())) if values.size else (0.0, 1.0)
        np.subtract(channel, np.float32(offset), out=channel, where=selected)
        np.divide(channel, np.float32(scale or 1.0), out=channel, where=selected)


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
        processes=arguments.processes,
    )
