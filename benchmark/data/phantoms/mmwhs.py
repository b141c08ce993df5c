"""MM-WHS, CT: `ct_train/ct_train_1001_image.nii.gz` and `ct_train_1001_label.nii.gz`; label values 205 to 850.

Arrays are stored along different axes from case to case, as in the published set.
"""

from __future__ import annotations

from benchmark.data.phantoms.scans import Scan, Scans, label_numbers

AXES = ("LAS", "RAS", "LPS", "ASL")
CASES = [f"ct_train_{number}" for number in range(1001, 1021)]

phantom = Scans(
    name="mmwhs",
    subjects=10,
    spacing=3.0,
    anatomy="heart",
    numbers=label_numbers("heart", "mmwhs"),
    scans=[
        Scan(case, f"ct_train/{case}_image.nii.gz", f"ct_train/{case}_label.nii.gz", axes=AXES[index % 4])
        for index, case in enumerate(CASES)
    ],
    centre=(-4.0, 4.0),
    heights=(366.0, 530.0),
    width=250.0,
    widest=1.0,
    slice_ratio=1.35,
)
