"""MM-WHS 2017, CT: 20 cardiac CT angiographies with seven structures, of which the challenge published the labels.

Layout: `ct_train/ct_train_1001_image.nii.gz` and `ct_train/ct_train_1001_label.nii.gz`, numbers 1001 to 1020. Cases
are turned differently on disk: axial slices need a preparation with an orientation.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from benchmark.datasets.volumes import Files, LabelledVolumes, first_folder
from benchmark.errors import InputError

PLACES = ("", "ct_train", "MM-WHS 2017 Dataset/ct_train")


class MmWhs(LabelledVolumes):
    """Images and labels side by side in one folder."""

    image_name: ClassVar = re.compile(r"(?P<case>ct_train_\d{4})_image\.nii(\.gz)?")
    label_name: ClassVar = re.compile(r"(?P<case>ct_train_\d{4})_label\.nii(\.gz)?")

    def find_files(self, root: Path) -> tuple[Files, Files]:
        folder = first_folder(root, PLACES, "ct_train_*_image.nii*")
        if folder is None:
            raise InputError(
                f"this is not {self.title}: no training scans",
                where=root,
                expected=self.layout,
                remedy="give the folder that holds ct_train; the MR scans and ct_test are not read",
            )
        return self.files_of([folder], self.image_name), self.files_of([folder], self.label_name)


dataset = MmWhs.from_yaml(__file__)
