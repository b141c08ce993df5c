"""FLARE22: `images/FLARE22_Tr_0001_0000.nii.gz` and `labels/FLARE22_Tr_0001.nii.gz`, portal venous CT."""

from __future__ import annotations

from benchmark.data.phantoms.scans import Scan, Scans, label_numbers

CASES = [f"FLARE22_Tr_{number:04d}" for number in range(1, 51)]

phantom = Scans(
    name="flare22",
    subjects=10,
    spacing=3.5,
    numbers=label_numbers("abdomen", "flare"),
    scans=[Scan(case, f"images/{case}_0000.nii.gz", f"labels/{case}.nii.gz") for case in CASES],
    heights=(236.0, 420.0),
)
