"""BTCV: the abdominal CTs of the challenge "Beyond the Cranial Vault" (Synapse syn3193805), 30 of them labelled.

Layout of the release: `RawData/Training/img/img0001.nii.gz` and `RawData/Training/label/label0001.nii.gz`, numbers 1 to
10 and 21 to 40. MONAI's copy has the same names in `imagesTr` and `labelsTr`. The 20 scans for testing have no labels.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmark.datasets.base import Dataset
from benchmark.datasets.volumes import Files, LabelledVolumes, files_by_case, first_folder
from benchmark.errors import InputError

PLACES = ("", "Training", "RawData/Training", "Abdomen/RawData/Training")
FOLDERS = (("img", "label"), ("imagesTr", "labelsTr"))
IMAGE = re.compile(r"img(?P<number>\d{4})\.nii(\.gz)?")
LABEL = re.compile(r"label(?P<number>\d{4})\.nii(\.gz)?")


class Btcv(LabelledVolumes):
    """The release's layout, or MONAI's."""

    def find_files(self, root: Path) -> tuple[Files, Files]:
        return find_scans(root, self, "img{number}")

    def patient_of(self, case: str) -> str:
        return patient_of_scan(case)


def find_scans(root: Path, dataset: Dataset, name: str) -> tuple[Files, Files]:
    """Images and labels of the 30 scans for a data set made of them, by `name` with their {number}.

    Raises:
        InputError: neither layout is at `root` or where an archive puts it below.
    """
    for images, labels in FOLDERS:
        folder = first_folder(root, [f"{place}/{images}".strip("/") for place in PLACES], "img*")
        if folder is not None:
            labels_folder = folder.with_name(labels)
            found = labels_folder.iterdir() if labels_folder.is_dir() else ()
            return files_by_case(folder.iterdir(), IMAGE, name), files_by_case(found, LABEL, name)
    raise InputError(
        f"this is not {dataset.title}: no scans",
        where=root,
        expected=dataset.layout,
        remedy="give the folder that RawData.zip was unpacked into",
    )


def patient_of_scan(case: str) -> str:
    """`img0035`, `case0035` → `btcv_0035`: the same person in both data sets that have these scans."""
    return f"btcv_{case[-4:]}"


dataset = Btcv.from_yaml(__file__)
