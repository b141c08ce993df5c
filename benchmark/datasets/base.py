"""What every data set tells of itself, and how its cases are found and read.

A new data set is one module with a subclass of `Dataset` (at least `find_cases` and `read_labels`; the rest has
defaults for NIfTI) that ends in `dataset = MyDataset.from_yaml(__file__)`, and one yaml of the same name: its facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import yaml

from benchmark.errors import InputError
from benchmark.files import load_yaml

PHANTOMS = Path(__file__).parents[1] / "data" / "phantoms"  # looked at, not imported: datasets stand below data
IGNORED = 255  # in merged maps and prepared stores: voxels that have no class, which losses and scores leave out


@dataclass(frozen=True)
class Archive:
    """One file to download.

    Attributes:
        url: address, pinned to one version of the record.
        name: file name to store it under.
        bytes: exact size; None where no source tells.
        hash: "md5:…" or "sha256:…"; None where nobody published one: the checksum of first sight is kept then.
        unpacked_bytes: estimate of the size unpacked, for the check of free disk space; an archive may not unpack to
            much more. None: unknown, which only an archive with a published hash may be.
        members: glob patterns of the members to unpack.
    """

    url: str
    name: str
    bytes: int | None = None
    hash: str | None = None
    unpacked_bytes: int | None = None
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
        ignore: value of voxels that nobody labelled, in the label files; None: there are none.
        attributes: what else is known before reading the image.
    """

    id: str
    patient: str
    images: tuple[Path, ...]
    labels: tuple[Path, ...]
    split: str | None = None
    ignore: int | None = None
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
        split_source: whose split it is, where the data set has no official one.
        counts: sizes that papers print and that are not numbers of cases, e.g. slices.
        test_cases, val_cases: official test and validation cases where known.
        shared: folder of raw data, beside the data set's own, that several data sets of one archive download into.
        obtain: where people get the data if it cannot be downloaded here.
        folder: where the data lie, of a data set of one's own; empty: `roots`, a download or a phantom.
        layout: the published layout in one line.
        empty_labels: whether a case without any labelled voxel is right.
        shared_scans: other data sets with the same scans, and what follows for a reader of both; the cases of one
            person have one `patient` in all of them.
        frame_suffix: regular expression of what a case id ends in behind its patient, where the layout does not say who
            is who; empty: every case counts as its own patient.
        chosen_split: whether its user chooses who trains, so that what a case is prepared to does not depend on it.
    """

    chosen_split: ClassVar[bool] = False

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
    split_source: str = "official"
    counts: Mapping[str, int] = field(default_factory=dict)
    test_cases: tuple[str, ...] = ()
    val_cases: tuple[str, ...] = ()
    shared: str = ""
    obtain: str = ""
    folder: str = ""
    layout: str = ""
    empty_labels: bool = False
    shared_scans: Mapping[str, str] = field(default_factory=dict)
    frame_suffix: str = r"[_-](frame|slice|visit|session|ses|timepoint|time|scan)[_-]?\d+$"

    @classmethod
    def from_yaml(cls, module_file: str) -> Self:
        """Build from the yaml beside the module; its keys are the fields above.

        Raises:
            InputError: no YAML, an unknown or missing key, a value of another kind, or a group that names an unknown
                structure.
        """
        path = Path(module_file).with_suffix(".yaml")
        facts = cls._checked_keys(path)
        facts["groups"] = {group: tuple(names) for group, names in facts.get("groups", {}).items()}
        unknown = {name for names in facts["groups"].values() for name in names} - set(facts["label_names"])
        if unknown:
            raise InputError("a group names a structure that is not in label_names", where=path, found=sorted(unknown))
        for key in ("channels", "label_names", "test_cases", "val_cases"):
            facts[key] = tuple(facts.get(key, ()))
        try:
            facts["archives"] = tuple(
                Archive(**{**archive, "members": tuple(archive.get("members", ("*",)))})
                for archive in facts.get("archives", ())
            )
            re.compile(facts.get("frame_suffix", ""))
        except (TypeError, AttributeError, re.error) as error:
            raise InputError("archives or frame_suffix are of another kind", where=path, found=str(error)) from error
        return cls(name=path.stem, **facts)

    @classmethod
    def _checked_keys(cls, path: Path) -> dict[str, Any]:
        """The yaml's keys: none unknown, none missing that has no default, lists and tables where they are due."""
        try:
            facts = load_yaml(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError("the facts of a data set cannot be read", where=path, found=str(error)) from error
        known = {f.name: f for f in fields(cls) if f.name != "name"}
        if not isinstance(facts, dict) or set(facts) - set(known):
            found = sorted(map(str, set(facts) - set(known))) if isinstance(facts, dict) else type(facts).__name__
            raise InputError("unknown key", where=path, found=found, expected=sorted(known))
        optional = {"groups"} | {
            name for name, f in known.items() if f.default is not MISSING or f.default_factory is not MISSING
        }
        if missing := sorted(set(known) - set(facts) - optional):
            raise InputError("missing key", where=path, expected=missing, found=sorted(facts))
        for kind, keys in (
            (list, ("channels", "label_names", "test_cases", "val_cases", "archives")),
            (dict, ("groups",)),
        ):
            for key in keys:
                if not isinstance(facts.get(key, kind()), kind):
                    raise InputError(f"{key} is no {kind.__name__}", where=path, found=repr(facts[key])[:120])
        for group, names in facts.get("groups", {}).items():
            if not isinstance(names, list):
                raise InputError(f"group {group} is no list", where=path, found=repr(names)[:120])
        return facts

    def of_fold(self, fold: int) -> Dataset:
        """The same cases with the parts of one of several folds; raises InputError where there are no folds."""
        raise InputError(
            f"{self.name} has no folds",
            expected="a data set of one's own in nnU-Net's raw layout",
            remedy="leave out cross_validate of the protocol",
        )

    @property
    def fold_count(self) -> int:
        """How many folds there are; raises InputError where there are none."""
        return self.of_fold(0).fold_count

    @property
    def instances(self) -> bool:
        """Whether predictions are scored against instances, and not against the merged label map."""
        return type(self).read_reference is not Dataset.read_reference

    @property
    def phantom(self) -> bool:
        """Whether `fetch --phantom` can generate a stand-in: a generator is a file of the data set's name."""
        return (PHANTOMS / f"{self.name}.py").is_file()

    @cached_property
    def class_numbers(self) -> dict[str, int]:
        """Class number of each structure."""
        return {name: number for number, name in enumerate(self.label_names, start=1)}

    @property
    def download_bytes(self) -> int | None:
        """Size of all archives together; None where that of any is unknown, 0 without archives."""
        return _sum([archive.bytes for archive in self.archives])

    @property
    def unpacked_bytes(self) -> int | None:
        """Estimate of all archives unpacked; None where that of any is unknown, 0 without archives."""
        return _sum([archive.unpacked_bytes for archive in self.archives])

    def declared_part(self, case: str) -> str:
        """ "test", "val" or "train" of a data set that declares its split by name; a name that no list has trains."""
        return "test" if case in self.test_cases else "val" if case in self.val_cases else "train"

    def find_cases(self, root: Path) -> list[Case]:
        """All cases under `root` in the data set's published layout, sorted by id.

        Raises:
            InputError: the folder is not in that layout at all. Faults of single cases are left to `verify`.
        """
        raise NotImplementedError

    def read_labels(self, case: Case) -> tuple[np.ndarray, np.ndarray, int]:
        """All structures of a case as one map: (uint8 [*spatial] in class order, affine [4, 4], overlapping voxels).

        Voxels that nobody labelled are `IGNORED`.
        """
        raise NotImplementedError

    def read_file(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """One image file as `verify` looks at it: ([*spatial] or [*spatial, C], affine [4, 4]; pictures: identity)."""
        from benchmark.datasets.nifti import read_volume
        from benchmark.images.files import VOLUMES, ending_of
        from benchmark.images.pictures import read_picture

        return read_volume(path) if ending_of(path) in (*VOLUMES, None) else (read_picture(path), np.eye(4))

    def read_label_file(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """One label file as every command reads it: (unsigned numbers [*spatial], affine [4, 4]; pictures: identity).

        Raises:
            InputError: unreadable, lossy, or other values than whole numbers from 0 on.
        """
        from benchmark.images.labels import read_label_file

        return read_label_file(path)

    def read_reference(self, case: Case) -> tuple[np.ndarray, np.ndarray] | None:
        """What predictions are scored against ([*spatial], affine), where that is not the merged label map."""
        return None

    def load_image(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """(image [C, *spatial] in raw units, affine [4, 4] in mm, RAS+ world as in nibabel; pictures: identity).

        Raises:
            InputError: a file cannot be read, or holds other axes or channels, such as a film given as a volume.
        """
        from benchmark.datasets.nifti import read_channels

        image, affine = read_channels(case.images)
        if image.ndim != self.spatial_dims + 1 or len(image) != len(self.channels):
            raise InputError(
                f"this is not one {self.spatial_dims}-D image with the channels {', '.join(self.channels)}",
                where=case.images[0],
                expected=f"{len(self.channels)} of {self.spatial_dims} axes",
                found=f"{len(image)} of shape {image.shape[1:]}",
                remedy="give the single volumes; a film (4-D) has to be cut into its frames",
            )
        return image, affine

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
        table = np.zeros(IGNORED + 1, dtype=np.uint8)
        table[IGNORED] = IGNORED
        table[[self.class_numbers[name] for name in labels]] = np.arange(1, len(labels) + 1)
        return table[merged]

    def allowed_values(self, label_file: Path) -> Sequence[int]:
        """Values a label file may hold, ascending."""
        return range(len(self.label_names) + 1)

    def patient_by_name(self, name: str) -> str:
        """Whose the case of that name is, as far as the name tells: `patient001_frame01` → `patient001`."""
        return re.sub(self.frame_suffix, "", name, flags=re.IGNORECASE) if self.frame_suffix else name

    def find_layout_faults(self, root: Path, cases: Sequence[Case]) -> Iterator[Fault]:
        """What is wrong with tables and file names, without opening an image."""
        yield from ()

    def find_case_faults(self, case: Case) -> Iterator[Fault]:
        """What is wrong with the files that a case has, without opening one: fewer or more of them than channels."""
        if len(case.images) not in (1, len(self.channels)):
            names = ", ".join(path.name for path in case.images)
            yield Fault(case.id, str(case.images[0]), "channels differ", ", ".join(self.channels), names)

    def describe(self, volumes: Mapping[str, int], extent: Sequence[float]) -> dict[str, str]:
        """Attributes that results are grouped by.

        Args:
            volumes: voxels of each structure present.
            extent: size in mm along the R-L, A-P and S-I axes.
        """
        return {}


def _sum(parts: Sequence[int | None]) -> int | None:
    return None if None in parts else sum(part or 0 for part in parts)


def unknown_values(labels: np.ndarray, allowed: Sequence[int]) -> list[float]:
    """Up to five values of `labels` that are not `allowed`, ascending; a range is asked for its ends alone."""
    if isinstance(allowed, range):
        odd = (labels < allowed[0]) | (labels > allowed[-1])
        if not np.issubdtype(labels.dtype, np.integer):
            odd |= labels != np.rint(labels)
    else:
        odd = np.ones_like(labels, dtype=bool)
        for value in allowed:  # in the file's own order of voxels: np.isin copies a NIfTI volume first, 20 times slower
            odd &= labels != value
    return np.unique(labels[odd])[:5].tolist()
