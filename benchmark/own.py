"""Folders of one's own: papers, networks and data sets beside those of this repository, without editing it.

A folder of one's own holds `paper.yaml` and the other files of a paper's folder, and may hold `networks/<name>.py` and
`datasets/<name>.yaml` (with `<name>.py` where the layout needs code). Which folders there are is told to every process
by one environment variable, which `--papers` and the workflow's key `papers` set.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Literal

from benchmark.errors import InputError

VARIABLE = "RETABLE_PAPERS"
Kind = Literal["networks", "datasets"]


def use_folders(folders: Iterable[str | Path]) -> None:
    """Make these the folders of one's own, for this process and those that it starts.

    Raises:
        InputError: one is missing, or holds no paper.
    """
    found = [Path(folder).expanduser().resolve() for folder in folders]
    for folder in found:
        if not papers_in(folder):
            raise InputError(
                "no paper in a folder of one's own" if folder.is_dir() else "a folder of one's own does not exist",
                where=folder,
                expected="paper.yaml, or folders with one",
                remedy="make one with: retable new paper NAME",
            )
    os.environ[VARIABLE] = os.pathsep.join(dict.fromkeys(map(str, found)))


def own_folders() -> tuple[Path, ...]:
    """The folder of every paper of one's own, in the order in which they were given."""
    given = filter(None, os.environ.get(VARIABLE, "").split(os.pathsep))
    return tuple(dict.fromkeys(paper for folder in given for paper in papers_in(Path(folder))))


def papers_in(folder: Path) -> list[Path]:
    """The folder itself, where it is that of a paper, else the papers in it."""
    if (folder / "paper.yaml").is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob("*/paper.yaml"))


def own_files(kind: Kind, ending: str) -> dict[str, Path]:
    """Networks or data sets of one's own: name → file of that ending.

    Raises:
        InputError: two folders have one of the same name.
    """
    found: dict[str, Path] = {}
    for folder in own_folders():
        for path in sorted((folder / kind).glob(f"*{ending}")):
            if path.stem in found:
                raise InputError(
                    f"two {kind} are called {path.stem}", where=path, found=found[path.stem], remedy="rename one"
                )
            found[path.stem] = path
    return found


def refuse_taken(kind: Kind, own: Iterable[str], ours: Sequence[str]) -> None:
    """A name that this repository has already would make results of two things look like those of one.

    Raises:
        InputError: such a name.
    """
    for name in sorted(set(own) & set(ours)):
        raise InputError(f"the name {name} is taken: Retable has {kind} of that name", remedy="rename your own")


@cache
def load_module(path: Path) -> ModuleType:
    """A Python file of one's own, imported once.

    Raises:
        InputError: it cannot be imported; the message has Python's own.
    """
    name = f"retable_own_{path.parent.name}_{path.stem}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise InputError("not a Python file", where=path, expected="a file whose name ends in .py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # pickle and dataclasses look modules up by name
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"a file of one's own cannot be imported: {error!r}", where=path) from error
    return module
