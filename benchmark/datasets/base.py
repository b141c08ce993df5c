"""What every data set tells of itself, and how its cases are found and read.

A new data set is one module with a subclass of `Dataset` (at least `find_cases` and `read_labels`; the rest has
defaults for NIfTI) that ends in `dataset = MyDataset.from_yaml(__file__)`, and one yaml of the same name: its facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import yaml

from benchmark.errors import InputError

PHANTOMS = Path(__file__).parents[1] / "data" / "phantoms"  # looked at, not imported: datasets stand below data


@dataclass(frozen=True)
class Archive:
    """One file to download.

    Attributes:
        url: address, pinned to one version of the record.
        name: file name to store it under.
        bytes: exact size.
        hash: "md5:…" or "sha256:…".
        members: glob patterns of the members to unpack.
        unpacked_bytes: estimate of the size unpacked, for the check of free disk space.
    """

    url: str
    name: str
    bytes: int
    hash: str
    unpacked_bytes: int
    members: tuple[str, ...] = ("*",)


@dataclass(frozen=True)
class Case:
    """One labelled image on disk.

    Attributes:
        id: unique in the data set.
        patient: cases of one patient never land in two splits.
        images: one file per channel, or one file that holds all.
        labels: label files, in the data set's own form.
        split: "train", "val" or "test" where the data set says so.
        attributes: what else is known before reading the image.
    """

    id: str
    patient: str
    images: tuple[Path, ...]
    labels: tuple[Path, ...]
    split: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """One thing wrong with the data: which file, what was expected, what was found."""

    case: str
    file: str
    problem: str
    expected: str = ""
    found: str = ""


@dataclass(frozen=True)
class Dataset:
    """Facts of a data set (fields, from its yaml) and its layout on disk (methods, from its module).

    Attributes:
        name: module name.
        title, licence, homepage: for people.
        modality: "CT", "MR", ...
        spatial_dims: 2 or 3.
        channels: names of the image channels.
        label_names: structures in class order; the first is class 1, 0 is background.
        groups: named sets of structures that tables report.
        group_sources: where each grouping comes from.
        archives: what `fetch` downloads.
        split_counts: cases of the complete data set per split; empty where there is no official split.
        counts: sizes that papers print and that are not numbers of cases, e.g. slices.
        test_cases: official test cases where known.
        obtain: where people get the data if it cannot be downloaded here.
        layout: the published layout in one line.
        empty_labels: whether a case without any labelled voxel is right.
    """

    name: str
    title: str
    licence: str
    homepage: str
    modality: str
    spatial_dims: int
    channels: tuple[str, ...]
    label_names: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    group_sources: Mapping[str, str] = field(default_factory=dict)
    archives: tuple[Archive, ...] = ()
    split_counts: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    test_cases: tuple[str, ...] = ()
    obtain: str = ""
    layout: str = ""
    empty_labels: bool = False

    @classmethod
    def from_yaml(cls, module_file: str) -> Self:
        """Build from the yaml beside the module; its keys are the fields above.

        Raises:
            InputError: an unknown or missing key, or a group that names an unknown structure.
        """
        path = Path(module_file).with_suffix(".yaml")
        facts = yaml.safe_load(path.read_text(encoding="utf-8"))
        allowed = {f.name for f in fields(cls)} - {"name"}
        if set(facts) - allowed:
            raise InputError("unknown key", where=path, found=sorted(set(facts) - allowed), expected=sorted(allowed))
        facts["groups"] = {group: tuple(names) for group, names in facts["groups"].items()}
        unknown = {name for names in facts["groups"].values() for name in names} - set(facts["label_names"])
        if unknown:
            raise InputError("a group names a structure that is not in label_names", where=path, found=sorted(unknown))
        for key in ("channels", "label_names", "test_cases"):
            facts[key] = tuple(facts.get(key, ()))
        facts["archives"] = tuple(
            Archive(**{**archive, "members": tuple(archive.get("members", ("*",)))})
            for archive in facts.get("archives", ())
        )
        return cls(name=path.stem, **facts)

    @property
    def phantom(self) -> bool:
        """Whether `fetch --phantom` can generate a stand-in: a generator is a file of the data set's name."""
        return (PHANTOMS / f"{self.name}.py").is_file()

    @cached_property
    def class_numbers(self) -> dict[str, int]:
        """Class number of each structure."""
        return {name: number for number, name in enumerate(self.label_names, start=1)}

    def find_cases(self, root: Path) -> list[Case]:
        """All cases under `root` in the data set's published layout, sorted by id.

        Raises:
            InputError: the folder is not in that layout at all. Faults of single cases are left to `verify`.
        """
        raise NotImplementedError

    def read_labels(self, case: Case) -> tuple[np.ndarray, np.ndarray, int]:
        """All structures of a case as one map: (uint8 [*spatial] in class order, affine [4, 4], overlapping voxels)."""
        raise NotImplementedError

    def read_file(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """One image or label file as `verify` looks at it: ([*spatial] or [*spatial, C], affine [4, 4])."""
        from benchmark.datasets.nifti import read_nifti

        return read_nifti(path)

    def read_reference(self, case: Case) -> tuple[np.ndarray, np.ndarray] | None:
        """What predictions are scored against ([*spatial], affine), where that is not the merged label map."""
        return None

    def load_image(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """(image [C, *spatial] in raw units, affine [4, 4] in mm, RAS+ world as in nibabel; pictures: identity)."""
        from benchmark.datasets.nifti import read_channels

        return read_channels(case.images)

    def load_labels(self, case: Case, labels: Sequence[str] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The merged label map (uint8 [*spatial], affine), restricted to `labels` where given.

        A restriction renumbers the merged map: structure k of `labels` becomes class k, all others background.

        Raises:
            InputError: `labels` names a structure the data set does not have.
        """
        merged, affine, _ = self.read_labels(case)
        return self.restrict(merged, labels), affine

    def restrict(self, merged: np.ndarray, labels: Sequence[str] | None) -> np.ndarray:
        """Renumber a merged map of all structures to `labels` (class 1…); None keeps it."""
        if labels is None:
            return merged
        unknown = [name for name in labels if name not in self.class_numbers]
        if unknown:
            raise InputError(f"{self.name} has no such structure", found=unknown, expected="names of label_names")
        table = np.zeros(len(self.label_names) + 1, dtype=np.uint8)
        table[[self.class_numbers[name] for name in labels]] = np.arange(1, len(labels) + 1)
        return table[merged]

    def allowed_values(self, label_file: Path) -> range:
        """Values a label file may hold."""
        return range(len(self.label_names) + 1)

    def find_layout_faults(self, root: Path, cases: Sequence[Case]) -> Iterator[Fault]:
        """What is wrong with tables and file names, without opening an image."""
        yield from ()

    def describe(self, volumes: Mapping[str, int], extent: Sequence[float]) -> dict[str, str]:
        """Attributes that results are grouped by.

        Args:
            volumes: voxels of each structure present.
            extent: size in mm along the R-L, A-P and S-I axes.
        """
        return {}
