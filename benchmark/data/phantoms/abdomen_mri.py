"""AbdomenMRI (Dataset702 of U-Mamba): nnU-Net's raw layout, MR of AMOS22 in the label order of FLARE22.

Every third scan has coronal slices. Training cases are AMOS's labelled ones; names of the 50 test cases are not published.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.data.phantoms.base import Subject
from benchmark.data.phantoms.scans import CORONAL, Scan, Scans, label_numbers
from benchmark.datasets import get_dataset
from benchmark.files import write_json

KINDS = ("mr", "mr" + CORONAL, "mr")
CASES = {"Tr": (507, 508, 510, 514, 517, 518, 522, 530, 532, 538, 540, 541), "Ts": tuple(range(601, 613))}


class AbdomenMri(Scans):
    """The data set lists no case: a scan's part is its folder."""

    def _parts(self) -> dict[str, list[Scan]]:
        train = [scan for scan in self.scans if scan.image.startswith("imagesTr")]
        return {"train": train, "val": [], "test": [scan for scan in self.scans if scan not in train]}

    def write_tables(self, root: Path, plan: Sequence[Subject]) -> None:
        labels = {"background": 0, **get_dataset(self.name).class_numbers}
        train = sum(subject.split == "train" for subject in plan)
        facts = {"channel_names": {"0": "MR"}, "labels": labels, "numTraining": train, "file_ending": ".nii.gz"}
        write_json(root / "dataset.json", facts)


def _scans(part: str) -> list[Scan]:
    names = [f"amos_{number:04d}" for number in CASES[part]]
    return [
        Scan(name, f"images{part}/{name}_0000.nii.gz", f"labels{part}/{name}.nii.gz", KINDS[index % 3], "LPS")
        for index, name in enumerate(names)
    ]


phantom = AbdomenMri(
    name="abdomen_mri",
    subjects=10,
    spacing=3.7,
    numbers=label_numbers("abdomen", "flare"),
    scans=_scans("Tr") + _scans("Ts"),
    heights=(230.0, 414.0),
    slice_ratio=2.0,
)
