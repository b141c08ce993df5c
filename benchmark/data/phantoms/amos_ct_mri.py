"""AMOS22, CT and MR: `imagesTr/amos_0001.nii.gz` and `labelsTr`, official validation cases in `imagesVa`, `labelsVa`.

Numbers up to 500 are CT, above it MR, some of which have coronal slices. The ids are a few of those published with labels.
"""

from __future__ import annotations

from itertools import chain

from benchmark.data.phantoms.scans import CORONAL, Scan, Scans, label_numbers

CT = {"Tr": (1, 4, 5, 6, 7, 9, 10, 11, 14, 15, 16, 17), "Va": (8, 13, 18, 22, 29, 32, 34, 40, 41, 51, 56, 61)}
MR = {
    "Tr": (507, 508, 510, 514, 517, 518, 522, 530, 532, 538, 540, 541),
    "Va": (544, 545, 546, 547, 549, 550, 552, 553, 556, 559, 561, 562),
}


def scan(number: int, part: str, kind: str) -> Scan:
    """Case `number` of imagesTr or imagesVa."""
    case = f"amos_{number:04d}"
    return Scan(case, f"images{part}/{case}.nii.gz", f"labels{part}/{case}.nii.gz", kind, "LPS")


def scans(numbers: dict[str, tuple[int, ...]], *kinds: str) -> list[Scan]:
    """Cases of both parts in turn; their kinds are `kinds` in turn."""
    pairs = chain.from_iterable(zip(*([(n, part) for n in ids] for part, ids in numbers.items()), strict=True))
    return [scan(number, part, kinds[index // 2 % len(kinds)]) for index, (number, part) in enumerate(pairs)]


phantom = Scans(
    name="amos_ct_mri",
    subjects=14,
    smallest=8,
    spacing=3.7,
    numbers=label_numbers("abdomen", "amos"),
    scans=list(chain.from_iterable(zip(scans(CT, "ct"), scans(MR, "mr", "mr" + CORONAL), strict=True))),
    heights=(86.0, 414.0),
    slice_ratio=2.8,
)
