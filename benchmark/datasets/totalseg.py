"""TotalSegmentator v2 (Wasserthal et al., Radiology: AI 2023; Zenodo record 10047292): CT with 117 structures.

Layout: `meta.csv` (separator ";", UTF-8 with byte-order mark, one line per case) and per case `sXXXX/ct.nii.gz` and
`sXXXX/segmentations/<structure>.nii.gz`, one binary mask per structure, present even where empty.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmark.datasets.base import Case, Dataset, Fault
from benchmark.errors import InputError
from benchmark.images.files import images_in
from benchmark.images.geometry import same_affine
from benchmark.images.label_names import read_text

SUFFIX = ".nii.gz"
SPLITS = ("train", "val", "test")
ENTIRE_MINIMUM_MM = 200.0
THORAX = tuple(f"vertebrae_T{level}" for level in range(2, 12))
ABDOMEN = ("vertebrae_T12", *(f"vertebrae_L{level}" for level in range(1, 6)), "sacrum")


class TotalSegmentator(Dataset):
    """The layout of TotalSegmentator v2; the phantom writes the same."""

    def find_cases(self, root: Path) -> list[Case]:
        """Folders of `root` that hold a `ct.nii.gz` or a `segmentations` folder; each case is its own patient.

        Raises:
            InputError: `root` or its meta.csv is missing, or meta.csv lacks its columns.
        """
        rows = {row["image_id"]: row for row in reversed(read_meta(root))}
        folders = sorted(f for f in root.iterdir() if (f / "ct.nii.gz").exists() or (f / "segmentations").is_dir())
        return [self._case(folder, rows.get(folder.name, {})) for folder in folders]

    def _case(self, folder: Path, row: Mapping[str, str]) -> Case:
        return Case(
            id=folder.name,
            patient=folder.name,
            images=(folder / "ct.nii.gz",),
            labels=tuple(images_in(folder / "segmentations", (SUFFIX,))),
            split=row.get("split") or None,
            attributes={"study_type": row.get("study_type", "")},
        )

    def read_labels(self, case: Case) -> tuple[np.ndarray, np.ndarray, int]:
        """Merge the masks in class order, a later class overwriting an earlier one where they overlap (as the data
        set's own convert_dataset_to_nnunet.py does); overlapping voxels are counted.

        A structure whose file is missing is absent from the map.

        Raises:
            InputError: no mask, an unknown structure, an unreadable file, values above 1, or masks of different
                geometry.
        """
        if not case.labels:
            raise InputError("the case has no label file", where=case.images[0].parent / "segmentations")
        numbers = self.class_numbers
        by_name = {structure_name(path): path for path in case.labels}
        unknown = sorted(set(by_name) - set(numbers))
        if unknown:
            raise InputError("unknown structure", where=by_name[unknown[0]], found=unknown, expected="the 117 names")
        merged: np.ndarray | None = None
        affine: np.ndarray | None = None
        overlaps = 0
        for name in sorted(by_name, key=numbers.__getitem__):
            mask, mask_affine = self.read_label_file(by_name[name])
            if merged is None or affine is None:
                merged, affine = np.zeros(mask.shape, np.uint8), mask_affine
            if mask.shape != merged.shape or not same_affine(mask_affine, affine):
                raise InputError(
                    "masks differ in geometry", where=by_name[name], expected=merged.shape, found=mask.shape
                )
            if mask.max() > 1:
                raise InputError("not a mask", where=by_name[name], expected="0 and 1", found=f"up to {mask.max()}")
            inside = mask > 0
            if inside.any():  # most masks of a scan are empty
                overlaps += int(np.count_nonzero(merged[inside]))
                merged[inside] = numbers[name]
        assert merged is not None and affine is not None  # there is a label file
        return merged, affine, overlaps

    def allowed_values(self, label_file: Path) -> range:
        return range(2)

    def find_layout_faults(self, root: Path, cases: Sequence[Case]) -> Iterator[Fault]:
        """Faults of meta.csv (case ids that occur twice, cases that only it or only the disk has, unknown splits) and
        of mask file names."""
        meta = str(root / "meta.csv")
        listed = [row["image_id"] for row in read_meta(root)]
        for name in sorted({name for name in listed if listed.count(name) > 1}):
            yield Fault(name, meta, "duplicate case id", "one line", f"{listed.count(name)} lines")
        for name in sorted(set(listed) - {case.id for case in cases}):
            found = "an empty folder" if (root / name).is_dir() else "no folder"
            yield Fault(name, meta, "case not on disk", f"{name}/ct.nii.gz and {name}/segmentations", found)
        for case in cases:
            if case.id not in listed:
                yield Fault(case.id, meta, "case missing in meta.csv", "one line", "none")
            elif case.split not in SPLITS:
                yield Fault(case.id, meta, "unknown split", " or ".join(SPLITS), str(case.split))
            names = {structure_name(path): path for path in case.labels}
            for name in sorted(set(names) - set(self.class_numbers)):
                yield Fault(case.id, str(names[name]), "unknown structure", "one of the 117", name)
            for name in self.label_names if names else ():  # an empty structure has a file too
                if name not in names:
                    yield Fault(case.id, str(root / case.id / "segmentations"), "missing mask", name + SUFFIX, "none")

    def describe(self, volumes: Mapping[str, int], extent: Sequence[float]) -> dict[str, str]:
        """`body`: "entire" or "partial", for the two groups of Swin SMT's Fig. 3a.

        The paper names them (a whole thorax, abdomen or body; a sub-volume of one) without a rule, and the column
        study_type gives the protocol rather than the field of view (s0358 is "ct pelvis", 785 mm long, with heart
        and liver). So here: entire, if the scan is at least 200 mm long, wide and deep, and has either all of
        T2 to T11 (a thorax) or all of T12 to L5 and the sacrum (an abdomen).
        """
        present = {name for name, voxels in volumes.items() if voxels > 0}
        complete = any(present.issuperset(region) for region in (THORAX, ABDOMEN))
        return {"body": "entire" if complete and min(extent) >= ENTIRE_MINIMUM_MM else "partial"}


def structure_name(path: Path) -> str:
    """`…/segmentations/spleen.nii.gz` → `spleen`."""
    return path.name.removesuffix(SUFFIX)


def read_meta(root: Path) -> list[dict[str, str]]:
    """Lines of meta.csv.

    Raises:
        InputError: folder or file missing, or not such a table.
    """
    path = root / "meta.csv"
    if not path.is_file():
        raise InputError(
            "this is not a TotalSegmentator v2 folder: no meta.csv",
            where=path,
            expected="meta.csv beside the folders s0000, s0001, …",
            found="no such folder" if not root.is_dir() else f"{sum(1 for _ in root.iterdir())} other entries",
            remedy="give the folder that the archive was unpacked into",
        )
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter=";"))
    except (ValueError, csv.Error) as error:
        raise InputError("meta.csv cannot be read", where=path, expected="a table in UTF-8", found=error) from error
    columns = set(rows[0]) if rows else set()
    if rows and not {"image_id", "split"} <= columns:
        found = sorted(map(str, columns))
        raise InputError("meta.csv lacks columns", where=path, expected="image_id;…;split", found=found)
    for number, row in enumerate(rows, start=2):
        if not row.get("image_id") or None in row:
            raise InputError("a line of meta.csv is damaged", where=path, expected="image_id;…", found=f"line {number}")
    return rows


dataset = TotalSegmentator.from_yaml(__file__)
