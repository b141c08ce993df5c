"""Copy the part of this package that an exported run needs into its folder, under a name of its own."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmark.files import write_text
from benchmark.own import own_files

PACKAGE = Path(__file__).resolve().parents[1]
NAME = "retable_runtime"
# What the modules that are carried import only inside functions, by the kind of file that is read.
READERS = ("benchmark.datasets.nifti", "benchmark.images.pictures", "benchmark.datasets.own_nnunet")
OWN_READER = """\
from {package}.datasets.own_nnunet import OwnNnUnet

dataset = OwnNnUnet.from_yaml(__file__)
"""


def carry_runtime(folder: Path, dataset: str, starts: Sequence[str]) -> list[str]:
    """Write `folder`/retable_runtime: the modules `starts`, the data set's reader, and all that these import.

    Returns:
        Names of the packages of others that they import, sorted.
    """
    own = own_files("datasets", ".yaml").get(dataset)
    wanted = [*starts, *READERS, *([] if own else [f"benchmark.datasets.{dataset}"])]
    outside: set[str] = set()
    for path in sorted(_closure(wanted)):
        outside |= _outside(path)
        write_text(folder / NAME / path.relative_to(PACKAGE), renamed(path.read_text(encoding="utf-8")))
    facts = own or PACKAGE / "datasets" / f"{dataset}.yaml"
    for yaml in {facts, *facts.parent.glob("*.yaml")} if own is None else {facts}:
        write_text(folder / NAME / "datasets" / yaml.name, yaml.read_text(encoding="utf-8"))
    if own:
        module = own.with_suffix(".py")
        text = module.read_text(encoding="utf-8") if module.is_file() else OWN_READER.format(package=NAME)
        write_text(folder / NAME / "datasets" / module.name, renamed(text))
    return sorted(outside)


def renamed(text: str) -> str:
    """The source with the package's own name replaced, in imports and in names of modules that are put together."""
    text = re.sub(r"^(\s*)(from|import) benchmark\b", rf"\1\2 {NAME}", text, flags=re.MULTILINE)
    return re.sub(r"([\"'])benchmark\.", rf"\1{NAME}.", text)


def _closure(names: Sequence[str]) -> set[Path]:
    """Files of these modules, of the packages that they are in, and of all that any of them imports."""
    found: set[Path] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if "." in name:
            waiting.append(name.rpartition(".")[0])
        if path is not None and path not in found:
            found.add(path)
            waiting += [one for one in _imported(path) if one.split(".")[0] == PACKAGE.name]
    return found


def _file(name: str) -> Path | None:
    place = PACKAGE.joinpath(*name.split(".")[1:])
    paths = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in paths if path.is_file()), None)


def _outside(path: Path) -> set[str]:
    tops = {name.split(".")[0] for name in _imported(path)}
    return tops - {PACKAGE.name} - set(sys.stdlib_module_names)


def _imported(path: Path) -> Iterator[str]:
    """Full names that a module imports when it is itself imported: not inside functions, nor for types alone."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
