"""What nnU-Net plans from the fingerprint for preparing cases: spacing, slices, and what intensities are scaled by.

Patch size, batch and network are not planned here: the protocols give them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import lineage
from benchmark.data.fingerprint import CaseFacts, FactsTask, Intensities, case_facts, intensities, merged
from benchmark.data.first_stage import first_stage_spacing
from benchmark.data.nonzero import own_values
from benchmark.datasets import Case, Dataset
from benchmark.errors import InputError
from benchmark.files import read_json, value_digest, write_json
from benchmark.progress import track
from benchmark.settings import Preparation, Settings
from benchmark.workers import map_processes

ANISOTROPY = 3  # coarsest spacing over the next that makes an axis special, and the same for numbers of voxels
LARGE_CROP = 3 / 4  # median share of voxels kept below which intensities are normalised inside the mask only


class Plan(Settings):
    """How every case of a data set is prepared, axes as in the prepared arrays.

    Attributes:
        spacing: target in mm; None: each case keeps its own.
        slice_axis: axis of the coarsest spacing, along which nnU-Net takes slices and keeps the spacing in 2-D; None
            for pictures.
        mask: whether intensities are normalised inside the non-zero mask only.
        intensities: of each channel; empty where they are not needed.
    """

    spacing: tuple[float, ...] | None = None
    slice_axis: int | None = None
    mask: bool = False
    intensities: tuple[Intensities, ...] = ()


UNPLANNED = Plan()


def plan_for(
    dataset: Dataset,
    cases: Sequence[Case],
    preparation: Preparation,
    *,
    labels: tuple[str, ...] | None,
    content: str,
    path: Path,
    processes: int | None = None,
) -> Plan:
    """The plan of these training cases, worked out in worker processes and kept in `path` (fingerprint.json).

    A file that was made from the same cases and settings is read instead.

    Args:
        content: digest of the cases' raw files.

    Raises:
        InputError: there is no training case, one cannot be read, or none has foreground where intensities are needed.
    """
    if not cases:
        raise InputError("there is no training case to plan from", where=path, remedy="give the split training cases")
    settings = preparation.model_dump(mode="json")
    key = value_digest([lineage.code("prepare"), dataset.name, settings, labels, content])
    if path.exists() and (known := read_json(path)).get("key") == key:
        return Plan.model_validate(known["plan"])
    tasks = [FactsTask(dataset.name, case, preparation, labels, len(cases)) for case in cases]
    facts = list(
        track(
            map_processes(case_facts, tasks, processes=processes),
            total=len(tasks),
            description=f"fingerprint of {dataset.name}",
        )
    )
    facts.sort(key=lambda one: one.case)
    counts = {"channels": len(dataset.channels), "classes": len(labels or dataset.label_names)}
    plan = make_plan(facts, preparation, spatial_dims=dataset.spatial_dims, where=path, **counts)
    write_json(path, {"key": key, "plan": plan.model_dump(mode="json"), **_readable(facts, dataset.spatial_dims)})
    return plan


def make_plan(
    facts: Sequence[CaseFacts],
    preparation: Preparation,
    *,
    spatial_dims: int,
    channels: int,
    classes: int,
    where: Path | None = None,
) -> Plan:
    """The plan that follows from the training cases' facts.

    Args:
        channels, classes: of the image, and structures without background; for `planned_first_stage`.
        where: file to name in errors.

    Raises:
        InputError: no case has foreground where intensities are needed.
    """
    spacings, shapes = (np.array([getattr(one, name) for one in facts], float) for name in ("spacing", "shape"))
    target = target_spacing(spacings, shapes)
    axis = int(np.argmax(target))
    if preparation.spacing == "planned_first_stage":
        median = np.median(spacings / target * shapes, axis=0)
        order = [axis, *(other for other in range(3) if other != axis)]
        stage = first_stage_spacing(target[order], median[order], channels=channels, classes=classes)
        target[order] = stage
    per_channel = zip(*(one.counts for one in facts), strict=True)
    kept = float(np.median([one.kept for one in facts]))
    try:
        statistics = tuple(intensities(merged(parts)) for parts in per_channel)
    except ValueError:
        raise InputError(
            "no training case has a labelled voxel, so there are no intensities to plan from",
            where=where,
            expected="labelled voxels, for normalise: ct_global",
            remedy="look at the labels, or choose another normalise",
        ) from None
    return Plan(
        spacing=tuple(own_values(target.tolist(), spatial_dims)) if isinstance(preparation.spacing, str) else None,
        slice_axis=own_values([0, 1, 2], 3)[axis] if spatial_dims == 3 else None,
        mask=preparation.normalise == "zscore_planned" and kept < LARGE_CROP,
        intensities=statistics,
    )


def target_spacing(spacings: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """nnU-Net's target spacing [3]: the median, on a strongly anisotropic axis the 10th percentile.

    The axis of the largest median spacing is anisotropic where that is more than three times the next, and its median
    number of voxels less than a third of the others'; the result then is not finer than the other axes.

    Args:
        spacings, shapes: [cases, 3] in mm and voxels after the crop.
    """
    target, size = (np.percentile(values, 50, axis=0) for values in (spacings, shapes))
    worst = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != worst]
    coarse = target[worst] > ANISOTROPY * target[others].max()
    if coarse and size[worst] * ANISOTROPY < size[others].min():
        finer, limit = np.percentile(spacings[:, worst], 10), target[others].max()
        target[worst] = limit + 1e-5 if finer < limit else finer
    return target


def _readable(facts: Sequence[CaseFacts], spatial_dims: int) -> dict[str, Any]:
    """The fingerprint as people read it, axes as in the prepared arrays."""
    return {
        "cases": {
            one.case: {
                "spacing": own_values(one.spacing, spatial_dims),
                "shape_after_crop": own_values(one.shape, spatial_dims),
                "kept_by_crop": one.kept,
            }
            for one in facts
        },
        "median_kept_by_crop": float(np.median([one.kept for one in facts])),
    }
