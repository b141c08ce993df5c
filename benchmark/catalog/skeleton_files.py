"""Files made from skeletons: all that belong together are written, or none where one cannot be."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from string import Template

from benchmark.catalog.reading import read_yaml
from benchmark.errors import InputError
from benchmark.files import write_text

FOLDER = re.compile(r"[\w.+-]+")  # as the workflow takes it in ids of runs
SKELETONS = Path(__file__).parent / "skeletons"


class SkeletonFiles:
    """What is to be written to a folder of one's own; with `paper.yaml` and `models.yaml`, if it is a new one.

    Raises:
        InputError: the folder's name cannot be that of a paper.
    """

    def __init__(self, folder: Path) -> None:
        name = folder.resolve().name
        if not FOLDER.fullmatch(name):
            raise InputError(
                "a folder of one's own has a name without spaces", where=folder, expected="letters, digits, . _ + -"
            )
        self.folder = folder
        self._texts: dict[Path, str] = {}
        if not (folder / "paper.yaml").exists():
            self.add("paper.yaml", "paper.yaml", name=name, title=name, folder=str(folder), year=date.today().year)
            self.add("models.yaml", "models.yaml")

    def add(self, file: str, skeleton: str, **values: object) -> Path:
        """A file of its own; raises InputError where there is one."""
        path = self.folder / file
        if path.exists():
            raise InputError("this file exists", where=path, remedy="choose another name, or remove it")
        self._texts[path] = _filled(skeleton, **values)
        return path

    def append(self, file: str, skeleton: str, name: str, **values: object) -> None:
        """One entry more of a yaml, whose other lines stay as somebody wrote them.

        Raises:
            InputError: it has an entry of that name.
        """
        path = self.folder / file
        if path.exists() and name in read_yaml(path):
            raise InputError(f"{name} stands there already", where=path, remedy="choose another name")
        text = self._texts.get(path) or (path.read_text(encoding="utf-8") if path.exists() else "")
        text = text.rstrip("\n") + "\n" if text else ""
        self._texts[path] = text + _filled(skeleton, **values, name=name)

    def write(self) -> None:
        for path, text in self._texts.items():
            write_text(path, text)


def _filled(skeleton: str, **values: object) -> str:
    return Template((SKELETONS / skeleton).read_text(encoding="utf-8")).substitute(values)
