"""One raw case to one prepared case, in a worker process: read, put on the prepared grid, write.

The merged label map also goes to `references/<case>.nii.gz` on the raw grid, which is what predictions are scored
against (where a data set scores instances: these).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from benchmark.data import geometry
from benchmark.data.plan import UNPLANNED, Plan
from benchmark.data.prepared_grid import to_prepared_grid
from benchmark.data.raw_files import PreparedDigests
from benchmark.data.store import write_case
from benchmark.datasets import Case, Dataset, get_dataset
from benchmark.errors import InputError
from benchmark.files import DISK_FULL, atomic_path, read_json
from benchmark.images.geometry import same_affine, voxel_sides
from benchmark.settings import PreparedData


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
    with _disk_full_explained(task):
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
    return overlaps


@contextmanager
def _disk_full_explained(task: Task) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise InputError(
            f"the disk is full while preparing {task.case.id}",
            where=task.folder,
            remedy="free space and run again: finished cases are kept, no half-written file is left",
        ) from error


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
