"""source.json: where a data set's raw files are and how they came there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from benchmark import lineage
from benchmark.data.raw_files import content_digest, raw_cases
from benchmark.datasets import Dataset
from benchmark.errors import InputError
from benchmark.files import read_json, write_json
from benchmark.lineage import Made
from benchmark.settings.folds import whole_of

Kind = Literal["download", "local", "phantom"]


def write_source(
    path: Path,
    *,
    dataset: Dataset,
    root: Path,
    kind: Kind,
    anew: bool = False,
    made: Made | None = None,
    **details: Any,
) -> None:
    """Record the source, with a digest of each case's raw files.

    A folder beside source.json is named relative to it, so that the results can be moved.

    Args:
        anew: read all files again, also those whose size and time have not changed.
        made: what decided which files these are (archives, settings of a phantom).
        details: further facts for readers.
    """
    known = {} if anew or not path.is_file() else read_json(path).get("files", {})
    files = raw_cases(dataset, root, known)
    folder, beside = root.resolve(), path.parent.resolve()
    record = {
        "dataset": dataset.name,
        "root": str(folder.relative_to(beside)) if folder.is_relative_to(beside) else str(folder),
        "kind": kind,
        "cases": len(files),
        **details,
        "made": {"kind": kind, **(made or {}), "content": content_digest(files), **lineage.code("fetch")},
        "files": files,
    }
    write_json(path, record)


def load_source(path: Path, dataset: str) -> dict[str, Any]:
    """The content of a source.json of `dataset`, of a fold that of its whole data set; `root` is the raw folder.

    Raises:
        InputError: no such file, damaged, of another data set, or its folder is gone.
    """
    source = _read(path, dataset)
    if not Path(source["root"]).is_dir():
        raise InputError(
            "the raw data is no longer there",
            where=path,
            found=f"no such folder: {source['root']}",
            remedy=f"bring it back, or delete {path} and fetch again",
        )
    return source


def source_kind(path: Path, dataset: str) -> Kind:
    """What a source.json of `dataset` says its data are, which need not be there any more.

    Raises:
        InputError: no such file, damaged, or of another data set.
    """
    return _read(path, dataset)["kind"]


def _read(path: Path, dataset: str) -> dict[str, Any]:
    dataset = whole_of(dataset)
    if not path.is_file():
        raise InputError("there is no source.json", where=path, remedy="run `retable fetch` first")
    try:
        source = read_json(path)
        found, root, kind = (str(source[key]) for key in ("dataset", "root", "kind"))
        source["root"] = str(path.parent / root)  # a root that is absolute stays it
        Path(source["root"]).is_dir()  # which fails where the text can be no path
    except (ValueError, TypeError, KeyError, OSError, RecursionError) as error:
        raise InputError(
            "source.json is damaged",
            where=path,
            found=f"{type(error).__name__}: {error}",
            remedy="delete it and run `retable fetch` again",
        ) from error
    if found != dataset or kind not in get_args(Kind):
        raise InputError("source.json is of another data set", where=path, expected=dataset, found=f"{found}, {kind}")
    return source
