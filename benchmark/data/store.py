"""The prepared-case store: compressed arrays from which a random patch or slice is read without reading the volume.

Layout of a store: `prepared.json` and `labels.json`, and per case `cases/<case>.image.b2nd` (float32 [C, *spatial]),
`.labels.b2nd` (uint8 [*spatial]), `.voxels.npz` (benchmark.data.voxels) and `.json`, which is written last and so
marks the case as complete. This module needs numpy and blosc2 only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import blosc2
import numpy as np

from benchmark.data.voxels import ClassVoxels, sample_class_voxels
from benchmark.datasets.base import IGNORED
from benchmark.errors import InputError
from benchmark.files import atomic_path, read_json, value_digest, write_json

# A 128³ patch touches at most 3³ chunks of 64³, and blosc2 decompresses only the 16³ blocks it needs of them.
CHUNK = {2: 256, 3: 64}
BLOCK = {2: 64, 3: 16}
PLANE = 512  # where slices are read one by one: side of the pieces that each of them is stored in
MAXIMUM_CLASS = 255


@dataclass(frozen=True)
class PreparedCase:
    """One case, opened lazily.

    Attributes:
        image: [C, *spatial] float32; slicing reads only the blocks needed.
        labels: [*spatial] uint8.
        meta: what `prepare` recorded of the case: geometry to undo, class volumes, attributes.
        folder: the store's `cases` folder.
    """

    folder: Path
    case: str
    meta: dict[str, Any]

    @cached_property
    def image(self) -> blosc2.NDArray:
        return _open(self.folder / f"{self.case}.image.b2nd")

    @cached_property
    def labels(self) -> blosc2.NDArray:
        return _open(self.folder / f"{self.case}.labels.b2nd")

    @cached_property
    def class_voxels(self) -> ClassVoxels:
        return ClassVoxels.load(self.folder / f"{self.case}.voxels.npz")


class PreparedStore:
    """A folder written by `retable prepare`.

    Attributes:
        folder: the store.
        info: the content of prepared.json.

    Raises:
        InputError: the folder holds no finished store.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / "prepared.json"
        if not path.exists():
            raise InputError("there is no finished prepared store", where=path, remedy="run `retable prepare` first")
        self.info: dict[str, Any] = read_json(path)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Structures in class order; the first is class 1."""
        return tuple(self.info["label_names"])

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self.info["channels"])

    @property
    def cases(self) -> tuple[str, ...]:
        return tuple(self.info["cases"])

    @property
    def ignore_label(self) -> int | None:
        """Value in `labels` of voxels that losses leave out: nobody labelled them (references have it too), or they lie
        outside the scan (`preparation.outside`). None where every voxel has a class."""
        outside = self.info["preparation"].get("outside") == "ignored"
        return IGNORED if outside else self.info.get("ignore_label")

    @property
    def digest(self) -> str:
        return self.info["digest"]

    def digest_of(self, cases: Iterable[str], kind: str) -> str:
        """Digest of some cases: as "image", whole "case" or "reference"."""
        digests = {case: self.open(case).meta["digests"][kind] for case in cases}
        return value_digest(dict(sorted(digests.items())))

    def open(self, case: str) -> PreparedCase:
        """One case.

        Raises:
            InputError: the store has no such case.
        """
        path = self.folder / "cases" / f"{case}.json"
        if not path.exists():
            raise InputError(f"the prepared store has no case {case!r}", where=path, remedy="run `retable prepare`")
        return PreparedCase(path.parent, case, read_json(path))

    @classmethod
    def create(
        cls,
        folder: str | Path,
        cases: dict[str, tuple[np.ndarray, np.ndarray, dict[str, Any]]],
        *,
        label_names: Sequence[str],
        channels: Sequence[str] = ("CT",),
        dataset: str = "created",
        planes: int | None = None,
        ignored: bool = False,
    ) -> PreparedStore:
        """Write a store from arrays in memory: {case: (image [C, *spatial], labels [*spatial], meta)}. With `ignored`,
        label `IGNORED` is that of voxels without a class."""
        for case, (image, labels, meta) in cases.items():
            write_case(folder, case, image, labels, meta, planes=planes, ignored=ignored)
        finish_store(
            folder,
            dataset=dataset,
            preparation={},
            label_names=label_names,
            channels=channels,
            cases=list(cases),
            **({"ignore_label": IGNORED} if ignored else {}),
        )
        return cls(folder)


def write_case(
    folder: str | Path,
    case: str,
    image: np.ndarray,
    labels: np.ndarray,
    meta: dict[str, Any],
    *,
    background_above: float | None = None,
    ignored: bool = False,
    planes: int | None = None,
) -> None:
    """Write one case; a case is in the store exactly when its json exists, which is written last.

    Args:
        folder: the store.
        image, labels: [C, *spatial], stored as float32, and [*spatial], stored as uint8.
        meta: JSON-serialisable; `case`, `shape`, `volumes` (voxels per class present) and, for volumes,
            `foreground_slices` (per axis the slices that have any class) are added.
        background_above: only voxels above this value in the first channel count as background when patches are
            centred on background (MONAI's `image_threshold`); None: all.
        ignored: label `IGNORED` may occur: no class but what losses leave out. It has no volume, and no patch is
            centred on it.
        planes: axis of a volume along which each slice is stored by itself, for 2-D networks; None: in cubes.

    Raises:
        InputError: shapes differ, or a class number does not fit in uint8.
    """
    if image.shape[1:] != labels.shape:
        raise InputError("image and labels differ in shape", where=case, expected=image.shape[1:], found=labels.shape)
    if int(labels.max(initial=0)) > MAXIMUM_CLASS:
        raise InputError("class numbers do not fit in uint8", where=case, expected=MAXIMUM_CLASS, found=labels.max())
    cases = Path(folder) / "cases"
    (cases / f"{case}.json").unlink(missing_ok=True)  # a case being rewritten is not complete
    labels = np.ascontiguousarray(labels, dtype=np.uint8)
    _write_array(cases / f"{case}.image.b2nd", np.ascontiguousarray(image, dtype=np.float32), planes)
    _write_array(cases / f"{case}.labels.b2nd", labels, planes)
    eligible = None if background_above is None else image[0] > background_above
    classes = labels
    if ignored and (unlabelled := labels == IGNORED).any():
        classes = np.where(unlabelled, np.uint8(0), labels)
        eligible = ~unlabelled if eligible is None else eligible & ~unlabelled
    voxels = sample_class_voxels(classes, eligible_background=eligible, seed=crc32(case.encode()))
    voxels.save(cases / f"{case}.voxels.npz")
    facts: dict[str, Any] = {"volumes": {str(number): count for number, count in voxels.volumes.items()}}
    if labels.ndim == 3:
        facts["foreground_slices"] = [_labelled_slices(classes, axis) for axis in range(3)]
    record = {"case": case, "shape": list(labels.shape), **meta, **facts}
    write_json(cases / f"{case}.json", record if "digests" in meta else {**record, "digests": _content(image, labels)})


def _labelled_slices(labels: np.ndarray, axis: int) -> list[int]:
    others = tuple(other for other in range(labels.ndim) if other != axis)
    return np.flatnonzero(labels.any(axis=others)).tolist()


def _content(image: np.ndarray, labels: np.ndarray) -> dict[str, str]:
    """Digests of a case that was not made from raw files: of its arrays."""
    voxels, classes = (sha256(np.ascontiguousarray(array).data).hexdigest()[:16] for array in (image, labels))
    return {"image": voxels, "case": value_digest([voxels, classes]), "reference": classes}


def finish_store(
    folder: str | Path,
    *,
    dataset: str,
    preparation: dict[str, Any],
    label_names: Sequence[str],
    channels: Sequence[str],
    cases: Sequence[str],
    **details: Any,
) -> dict[str, Any]:
    """Write labels.json and, last of all, prepared.json; returns its content."""
    folder = Path(folder)
    names = {str(number): name for number, name in enumerate(label_names, start=1)}
    if details.get("ignore_label") is not None:
        names[str(details["ignore_label"])] = "ignore"
    write_json(folder / "labels.json", names)
    info = {
        "dataset": dataset,
        "preparation": preparation,
        "label_names": list(label_names),
        "channels": list(channels),
        "cases": sorted(cases),
        **details,
    }
    info["digest"] = value_digest(info)
    write_json(folder / "prepared.json", info)
    return info


def _write_array(path: Path, array: np.ndarray, planes: int | None) -> None:
    dimensions = min(array.ndim, 3) if array.dtype == np.uint8 else array.ndim - 1
    leading, sides = (1,) * (array.ndim - dimensions), array.shape[-dimensions:]
    if planes is not None and dimensions == 3:
        chunks = blocks = leading + tuple(1 if axis == planes else min(PLANE, side) for axis, side in enumerate(sides))
    else:
        chunks = leading + tuple(min(CHUNK[dimensions], side) for side in sides)
        blocks = leading + tuple(min(BLOCK[dimensions], side) for side in chunks[-dimensions:])
    # Compressed in memory and written by Python: blosc2's own file writer does not report a full disk.
    frame = blosc2.asarray(
        array, chunks=chunks, blocks=blocks, cparams={"codec": blosc2.Codec.ZSTD, "clevel": 5, "nthreads": 1}
    ).to_cframe()
    with atomic_path(path) as temporary:
        temporary.write_bytes(frame)


def _open(path: Path) -> blosc2.NDArray:
    return blosc2.open(str(path), mode="r", mmap_mode="r", dparams={"nthreads": 1})
