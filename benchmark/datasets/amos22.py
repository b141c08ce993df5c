"""AMOS22: one archive of abdominal CT and MRI (Ji et al., NeurIPS 2022; Zenodo record 7262581), and the views of it.

Layout: `imagesTr/amos_0001.nii.gz` and `labelsTr/amos_0001.nii.gz`, and `imagesVa`, `labelsVa` for the challenge's
validation cases, whose labels are public; those of its test cases are not. Numbers up to 500 are CT, above MRI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from benchmark.datasets.volumes import LabelledVolumes

LAST_CT = 500


@dataclass(frozen=True)
class Amos22(LabelledVolumes):
    """The cases of some modalities.

    Attributes:
        labelled: cases with public labels, by modality; the view has these modalities.
    """

    labelled: Mapping[str, int] = field(default_factory=dict)

    pairs: ClassVar = (("imagesTr", "labelsTr"), ("imagesVa", "labelsVa"))
    image_name: ClassVar = re.compile(r"(?P<case>amos_\d{4})\.nii(\.gz)?")
    label_name: ClassVar = image_name

    def has_case(self, case: str) -> bool:
        return modality_of(case) in self.labelled

    def attributes_of(self, case: str, image: Path) -> dict[str, Any]:
        return {"modality": modality_of(case)}


def modality_of(case: str) -> str:
    """`amos_0507` → "MR"."""
    return "CT" if int(case.removeprefix("amos_")) <= LAST_CT else "MR"


def view(name: str, *modalities: str) -> Amos22:
    """The data set `name`: the cases of these modalities, split as in the whole, from the one archive."""
    whole = Amos22.from_yaml(__file__)
    labelled = {modality: whole.labelled[modality] for modality in modalities}
    test, val = (
        tuple(case for case in cases if modality_of(case) in labelled) for cases in (whole.test_cases, whole.val_cases)
    )
    train = sum(labelled.values()) - len(val) - len(test)
    return replace(
        whole,
        name=name,
        title=f"{whole.title}, {' and '.join(modalities)}",
        modality=" and ".join(modalities),
        channels=(" or ".join(modalities),),
        labelled=labelled,
        split_counts={"train": train, "val": len(val), "test": len(test)},
        test_cases=test,
        val_cases=val,
        shared=whole.name,
    )
