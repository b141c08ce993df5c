"""Folders of one's own as `new` makes them, and data for them in nnU-Net's raw layout."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np

from benchmark.cli import main


def write_raw(root: Path, *, labels: dict[str, int] | None = None, cases: int = 10, ending: str = ".nii.gz") -> Path:
    """Two cases per patient, in nnU-Net's raw layout."""
    root.mkdir(parents=True)
    content = {"channel_names": {"0": "CT"}, "labels": labels or {"background": 0, "left": 1, "right": 2}}
    (root / "dataset.json").write_text(json.dumps({**content, "name": "Blobs", "file_ending": ending}))
    for number in range(cases):
        array = np.zeros((40, 33, 20), np.uint8)
        array[4:10, 5:9, 3:8], array[20:30, 5:9, 3:8] = 1, 2
        for folder, name in (
            ("imagesTr", f"p{number // 2}_scan{number % 2}_0000"),
            ("labelsTr", f"p{number // 2}_scan{number % 2}"),
        ):
            (root / folder).mkdir(exist_ok=True)
            nibabel.Nifti1Image(array, np.eye(4)).to_filename(root / folder / f"{name}{ending}")
    return root


def new(*words: object) -> int:
    return main(["new", *map(str, words)])
