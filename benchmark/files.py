"""Files that are either whole or absent: temporary file, fsync, rename, directory fsync."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmark.errors import InputError

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on normal exit it replaces `path`, on an exception it is removed.

    The temporary name keeps the suffixes of `path`, because writers such as nibabel choose the format by them.

    Raises:
        InputError: nothing can be written there. A full disk is an OSError, which some callers answer themselves.
    """
    path = Path(path)
    with unwritable_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".tmp-", suffix="-" + path.name, dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private; results are to be shared
        os.replace(temporary, path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def unwritable_explained(path: Path) -> Iterator[None]:
    """Around what makes `path` or a file in its place: where nothing can be written, say where.

    Raises:
        InputError: nothing can be written there. A full disk stays an OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise InputError(
            f"cannot write {path.name}",
            where=path.parent,
            expected="a folder that can be written",
            found=error.strerror,
            remedy="give another folder, or correct its permissions",
        ) from None


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless they are there.

    Raises:
        InputError: nothing can be written there. A full disk is an OSError.
    """
    with unwritable_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)


def check_writable(folder: Path) -> None:
    """Make a folder where it is missing, and see that files can be written into it; none is left.

    Raises:
        InputError: they cannot. A full disk is an OSError.
    """
    make_folder(folder)
    with unwritable_explained(folder / "results"), tempfile.TemporaryFile(dir=folder):
        pass


def sync_directory(folder: Path) -> None:
    """Make a rename in `folder` survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_text(path: str | Path, text: str) -> None:
    """Write `text` atomically as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as csv, header first, one line each with a newline at its end."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` atomically as readable JSON with a final newline."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def file_digest(path: str | Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def value_digest(value: Any) -> str:
    """Short digest (16 hexadecimal digits) of a JSON-serialisable value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_yaml(text: str) -> Any:
    """Plain values of a yaml text, by the parser in C, which takes an eighth of the time of the one in Python.

    Raises:
        yaml.YAMLError: it is not yaml, or asks for other than plain values.
    """
    return yaml.load(text, Loader=yaml.CSafeLoader)
