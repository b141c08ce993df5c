"""source.json: where a data set's raw files are and how they came there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from benchmark.errors import InputError
from benchmark.files import read_json, write_json

Kind = Literal["download", "local", "phantom"]


def write_source(path: Path, *, dataset: str, root: Path, kind: Kind, cases: int, **details: Any) -> None:
    """Record the source; `details` say what it was made from (archive hashes, phantom settings)."""
    write_json(path, {"dataset": dataset, "root": str(root.resolve()), "kind": kind, "cases": cases, **details})


def read_source(path: Path, dataset: str) -> Path:
    """The raw folder that a source.json of `dataset` names.

    Raises:
        InputError: no such file, of another data set, or its folder is gone.
    """
    return Path(load_source(path, dataset)["root"])


def load_source(path: Path, dataset: str) -> dict[str, Any]:
    """The content of a source.json; raises as `read_source` does."""
    if not path.is_file():
        raise InputError("there is no source.json", where=path, remedy="run `benchmark fetch` first")
    try:
        source = read_json(path)
        found, root, kind = (str(source[key]) for key in ("dataset", "root", "kind"))
        there = Path(root).is_dir()
    except (ValueError, TypeError, KeyError, OSError, RecursionError) as error:
        raise InputError(
            "source.json is damaged",
            where=path,
            found=f"{type(error).__name__}: {error}",
            remedy="delete it and run `benchmark fetch` again",
        ) from error
    if found != dataset or kind not in get_args(Kind):
        raise InputError("source.json is of another data set", where=path, expected=dataset, found=f"{found}, {kind}")
    if not there:
        raise InputError(
            "the raw data is no longer there",
            where=path,
            found=f"no such folder: {root}",
            remedy=f"bring it back, or delete {path} and fetch again",
        )
    return source
