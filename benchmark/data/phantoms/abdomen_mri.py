"""AbdomenMRI (Dataset702 of U-Mamba): nnU-Net's raw layout, MR of AMOS22 in the label order of FLARE22.

Every third scan has coronal slices. Training cases are AMOS's labelled ones; the names of the 50 test cases are not
published, and those here are not AMOS's.
"""

from __future__ import annotations

from dataclasses import replace

from benchmark.data.phantoms.amos_ct_mri import MR, scans
from benchmark.data.phantoms.scans import CORONAL, Scan, Scans, label_numbers

PLANES = ("", CORONAL, "")


class AbdomenMri(Scans):
    """The data set lists no case: the folder is the split."""

    def _parts(self) -> dict[str, list[Scan]]:
        train = [scan for scan in self.scans if scan.image.startswith("imagesTr")]
        return {"train": train, "val": [], "test": [scan for scan in self.scans if scan not in train]}


phantom = AbdomenMri(
    name="abdomen_mri",
    subjects=10,
    spacing=3.7,
    numbers=label_numbers("abdomen", "flare"),
    scans=[
        replace(scan, image=scan.image.replace(".nii.gz", "_0000.nii.gz"))
        for scan in scans({"Tr": MR["Tr"], "Ts": range(601, 621)}, "mr", PLANES)
    ],
    heights=(230.0, 414.0),
    slice_ratio=2.0,
    facts="dataset.json",
)
