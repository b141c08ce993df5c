"""AMOS22, CT and MR: `imagesTr/amos_0001.nii.gz` and `labelsTr`, official validation cases in `imagesVa`, `labelsVa`.

Numbers up to 500 are CT, above it MR, every third with coronal slices. Ids are a few of those published with labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmark.data.phantoms.scans import CORONAL, Scan, Scans, label_numbers

CT = {
    "Tr": (1, 4, 5, 6, 7, 9, 10, 11, 14, 15, 16, 17, 19, 21, 23, 24, 25, 27, 30, 33, 35, 36, 38, 42, 43, 44),
    "Va": (8, 13, 18, 22, 29, 32, 34, 40, 41, 51, 56, 61),
}
MR = {
    "Tr": (507, 508, 510, 514, 517, 518, 522, 530, 532, 538, 540, 541, 548, 551, 554, 555, 557, 558, 570, 571),
    "Va": (544, 545, 546, 547, 549, 550, 552, 553, 556, 559, 561, 562, 563, 568, 572, 573, 575, 576, 581, 598),
}
AXES = {"": "LPS", CORONAL: "LSP"}  # the last axis runs through the slices, as they were taken


def scans(numbers: Mapping[str, Sequence[int]], contrast: str, planes: Sequence[str] = ("",)) -> list[Scan]:
    """Cases of both parts by number, of one contrast, their planes in turn."""
    listed = sorted((number, part) for part, found in numbers.items() for number in found)
    found = []
    for index, (number, part) in enumerate(listed):
        case, plane = f"amos_{number:04d}", planes[index % len(planes)]
        files = f"images{part}/{case}.nii.gz", f"labels{part}/{case}.nii.gz"
        found.append(Scan(case, *files, contrast + plane, AXES[plane]))
    return found


phantom = Scans(
    name="amos_ct_mri",
    subjects=14,
    smallest=8,
    spacing=3.7,
    numbers=label_numbers("abdomen", "amos"),
    scans=scans(CT, "ct") + scans(MR, "mr", ("", CORONAL, "")),
    heights=(134.0, 414.0),
    slice_ratio=2.8,
    facts="dataset.json",
)
