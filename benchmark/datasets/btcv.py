"""BTCV: the abdominal CTs of the challenge "Beyond the Cranial Vault" (Synapse syn3193805), 30 of them labelled.

Layout of the release: `RawData/Training/img/img0001.nii.gz` and `RawData/Training/label/label0001.nii.gz`, numbers 1 to
10 and 21 to 40. MONAI's copy has the same names in `imagesTr` and `labelsTr`. The 20 scans for testing have no labels.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from benchmark.datasets.volumes import Files, LabelledVolumes, first_folder
from benchmark.errors import InputError

PLACES = ("", "Training", "RawData/Training", "Abdomen/RawData/Training")
FOLDERS = (("img", "label"), ("imagesTr", "labelsTr"))


class Scans(LabelledVolumes):
    """The 30 scans, in the release's layout or MONAI's, for a data set made of them."""

    image_name: ClassVar = re.compile(r"img(?P<number>\d{4})\.nii(\.gz)?")
    label_name: ClassVar = re.compile(r"label(?P<number>\d{4})\.nii(\.gz)?")

    def find_files(self, root: Path) -> tuple[Files, Files]:
        """Images and labels of the scans.

        Raises:
            InputError: neither layout is at `root` or where an archive puts it below.
        """
        for images, labels in FOLDERS:
            folder = first_folder(root, [f"{place}/{images}".strip("/") for place in PLACES], "img*")
            if folder is not None:
                labels_folder = folder.with_name(labels)
                return self.files_of([folder], self.image_name), self.files_of([labels_folder], self.label_name)
        raise InputError(
            f"this is not {self.title}: no scans",
            where=root,
            expected=self.layout,
            remedy="give the folder that RawData.zip was unpacked into",
        )

    def patient_of(self, case: str) -> str:
        """`img0035`, `case0035` → `btcv_0035`: the same person in both data sets that have these scans."""
        return f"btcv_{case[-4:]}"


class Btcv(Scans):
    """BTCV's own ids."""

    case_name: ClassVar = "img{number}"


dataset = Btcv.from_yaml(__file__)
