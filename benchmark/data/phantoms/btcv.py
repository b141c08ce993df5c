"""BTCV: `RawData/Training/img/img0001.nii.gz` and `label/label0001.nii.gz`, venous CT, ids 1 to 10 and 21 to 40."""

from __future__ import annotations

from benchmark.data.phantoms.scans import Scan, Scans, label_numbers

NUMBERS = (*range(1, 11), *range(21, 41))
FOLDER = "RawData/Training"

phantom = Scans(
    name="btcv",
    subjects=10,
    spacing=3.5,
    numbers=label_numbers("abdomen", "btcv"),
    scans=[
        Scan(
            f"img{number:04d}",
            f"{FOLDER}/img/img{number:04d}.nii.gz",
            f"{FOLDER}/label/label{number:04d}.nii.gz",
            axes="LAS",
        )
        for number in NUMBERS
    ],
    heights=(236.0, 420.0),
)
