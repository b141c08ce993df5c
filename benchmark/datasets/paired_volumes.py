"""The layout of most challenges: a folder of NIfTI images, and one of NIfTI label maps whose values are the classes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmark.datasets.base import Case, Fault
from benchmark.datasets.nnunet_raw import NnUnetRaw
from benchmark.errors import InputError

ENDING = ".nii.gz"


class PairedVolumes(NnUnetRaw):
    """Reads as nnU-Net's raw layout, with other names. Every case is its own patient: such a layout does not tell.

    Attributes:
        pairs: folders of images and of their label maps, relative to the root; those that exist are read.
        image_name: name of an image; its group `case` is the id.
    """

    pairs: ClassVar[tuple[tuple[str, str], ...]]
    image_name: ClassVar[re.Pattern[str]]

    def label_name(self, case: str) -> str:
        """File name of a case's label map."""
        return case + ENDING

    def attributes_of(self, case: str) -> dict[str, Any]:
        """What the id tells of a case."""
        return {}

    def has_case(self, case: str) -> bool:
        """Whether the case belongs to this data set; others may lie in the same folders."""
        return True

    def find_cases(self, root: Path) -> list[Case]:
        """Cases of all pairs of folders, sorted by id; the split is the declared one.

        Raises:
            InputError: none of the image folders is there.
        """
        if not any((root / images).is_dir() for images, _ in self.pairs):
            raise InputError(
                f"this is not {self.title}: no {self.pairs[0][0]}",
                where=root,
                expected=self.layout,
                found="no such folder" if not root.is_dir() else f"{sum(1 for _ in root.iterdir())} other entries",
                remedy="give the folder that the archive was unpacked into",
            )
        cases = [
            Case(
                id=case,
                patient=case,
                images=(image,),
                labels=(label,) if label.is_file() else (),
                split=self.declared_part(case),
                attributes=self.attributes_of(case),
            )
            for case, image, label in self._files(root)
            if self.has_case(case)
        ]
        return sorted(cases, key=lambda case: case.id)

    def find_layout_faults(self, root: Path, cases: Sequence[Case]) -> Iterator[Fault]:
        """Files of other names, ids that occur twice, label maps without an image, another order of labels."""
        files = list(self._files(root))
        ids, known = [case for case, _, _ in files], {path for _, *paths in files for path in paths}
        for case, image, _ in files:
            if ids.count(case) > 1:
                yield Fault(case, str(image), "duplicate case id", "one image", f"{ids.count(case)} images")
        for images, labels in self.pairs:
            for folder, problem in ((images, "unknown file name"), (labels, "label without an image")):
                for path in sorted(set(_volumes(root / folder)) - known):
                    yield Fault("", str(path), problem, self.layout, path.name)
            yield from self.find_order_faults((root / images).parent / "dataset.json")

    def _files(self, root: Path) -> Iterator[tuple[str, Path, Path]]:
        for images, labels in self.pairs:
            for path in _volumes(root / images):
                if match := self.image_name.fullmatch(path.name):
                    yield match["case"], path, root / labels / self.label_name(match["case"])


def _volumes(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.endswith(ENDING) and not path.name.startswith("."))
