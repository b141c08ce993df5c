"""ATLAS 2023: liver and liver tumours in contrast-enhanced T1 MRI, 60 labelled cases (Quinton et al., Data 2023).

Layout: `train/imagesTr/im0.nii.gz` and `train/labelsTr/lb0.nii.gz`, numbers without leading zeros. The folder `train`
itself may be given as well. No relation to ATLAS R2.0, which is of strokes.
"""

from __future__ import annotations

import re
from typing import ClassVar

from benchmark.datasets.paired_volumes import ENDING, PairedVolumes


class Atlas2023(PairedVolumes):
    pairs: ClassVar = (("train/imagesTr", "train/labelsTr"), ("imagesTr", "labelsTr"))
    image_name: ClassVar = re.compile(r"(?P<case>im\d+)\.nii\.gz")

    def label_name(self, case: str) -> str:
        return case.replace("im", "lb") + ENDING


dataset = Atlas2023.from_yaml(__file__)
