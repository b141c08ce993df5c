"""ATLAS 2023: `train/imagesTr/im0.nii.gz` and `train/labelsTr/lb0.nii.gz`, MR of livers with tumours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmark.data.phantoms.anatomy import Anatomy, Structure
from benchmark.data.phantoms.scans import Scan, Scans, label_numbers
from benchmark.data.phantoms.shapes import Solid

TUMOURS = (1, 3)
TUMOUR_VALUE = 300.0  # in the contrast "ce": darker than the liver around it
RADII_MM = (13.0, 24.0)


class Atlas(Scans):
    """Livers with tumours at places of their own."""

    def vary(self, anatomy: Anatomy, generator: np.random.Generator) -> Anatomy:
        """One to three tumours in the right lobe in place of the nominal one."""
        lobe = next(structure for structure in anatomy.structures if structure.name == "liver").solids[0]
        solids = tuple(_tumour(lobe, generator) for _ in range(generator.integers(*TUMOURS, endpoint=True)))
        place = [structure.name for structure in anatomy.structures].index("spleen")  # painted right after the liver
        tumour = Structure("tumour", TUMOUR_VALUE, solids)
        return replace(anatomy, structures=(*anatomy.structures[:place], tumour, *anatomy.structures[place:]))


def _tumour(lobe: Solid, generator: np.random.Generator) -> Solid:
    direction = generator.standard_normal(3)
    reach = 0.6 * generator.uniform() ** (1 / 3) * lobe.radii
    radii = generator.uniform(0.8, 1.2, 3) * generator.uniform(*RADII_MM)
    return Solid((lobe.points[0] + direction / np.linalg.norm(direction) * reach)[None], radii, np.zeros((0, 4)))


phantom = Atlas(
    name="atlas2023",
    subjects=10,
    spacing=3.7,
    numbers=label_numbers("abdomen", "atlas"),
    scans=[
        Scan(f"im{number}", f"train/imagesTr/im{number}.nii.gz", f"train/labelsTr/lb{number}.nii.gz", "ce", "LPS")
        for number in range(60)
    ],
    heights=(262.0, 420.0),
    slice_ratio=2.2,
    facts="train/dataset.json",
)
