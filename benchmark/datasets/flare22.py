"""FLARE22, labelled part: 50 portal venous CT with 13 organs (Ma et al. 2023; Zenodo record 7860267).

Layout: `images/FLARE22_Tr_0001_0000.nii.gz` and `labels/FLARE22_Tr_0001.nii.gz`.
"""

from __future__ import annotations

import re
from typing import ClassVar

from benchmark.datasets.volumes import LabelledVolumes


class Flare22(LabelledVolumes):
    pairs: ClassVar = (("images", "labels"),)
    image_name: ClassVar = re.compile(r"(?P<case>FLARE22_Tr_\d{4})_0000\.nii(\.gz)?")
    label_name: ClassVar = re.compile(r"(?P<case>FLARE22_Tr_\d{4})\.nii(\.gz)?")


dataset = Flare22.from_yaml(__file__)
