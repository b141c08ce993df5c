"""ATLAS 2023: liver and liver tumours in contrast-enhanced T1 MRI, 60 labelled cases (Quinton et al., Data 2023).

Layout: `train/imagesTr/im0.nii.gz` and `train/labelsTr/lb0.nii.gz`, numbers without leading zeros. The folder `train`
itself may be given as well. No relation to ATLAS R2.0, which is of strokes.
"""

from __future__ import annotations

import re
from typing import ClassVar

from benchmark.datasets.volumes import LabelledVolumes


class Atlas2023(LabelledVolumes):
    pairs: ClassVar = (("train/imagesTr", "train/labelsTr"), ("imagesTr", "labelsTr"))
    image_name: ClassVar = re.compile(r"im(?P<number>\d+)\.nii(\.gz)?")
    label_name: ClassVar = re.compile(r"lb(?P<number>\d+)\.nii(\.gz)?")
    case_name: ClassVar = "im{number}"


dataset = Atlas2023.from_yaml(__file__)
