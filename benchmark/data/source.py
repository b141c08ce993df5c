"""source.json: where a data set's raw files are and how they came there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

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
    source = read_json(path)
    if source.get("dataset") != dataset:
        raise InputError("source.json is of another data set", where=path, expected=dataset, found=source["dataset"])
    if not Path(source["root"]).is_dir():
        raise InputError(
            "the raw data is no longer there",
            where=source["root"],
            found="no such folder",
            remedy=f"bring it back, or delete {path} and fetch again",
        )
    return source
