"""Files from elsewhere: compared with what was published of them, or else with what was seen of them first.

Where nobody published a checksum, the first one seen is kept beside the file, as `<file>.seen.json`; a file that
changes later is refused.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmark.errors import InputError
from benchmark.files import file_digest, read_json, write_json


@dataclass(frozen=True)
class Seen:
    """What a file is, and what says that it is the right one."""

    bytes: int
    sha256: str
    basis: Literal["published checksum", "first sight"]


def record_of(path: Path) -> Path:
    """Where the first sight of a file is kept."""
    return path.with_name(f"{path.name}.seen.json")


def compare(path: Path, *, size: int | None = None, checksum: str | None = None) -> Seen:
    """Size and sha256 of a file, after comparing both.

    Args:
        path: the file.
        size: published number of bytes; None where nobody says.
        checksum: published "md5:…" or "sha256:…"; None compares with the record of first sight, if there is one.

    Raises:
        InputError: another size, not the published file, or changed since it was first seen.
    """
    found = path.stat().st_size
    if size is not None and found != size:
        raise InputError(
            "the file is not the published one",
            where=path,
            expected=f"{size} bytes",
            found=f"{found} bytes",
            remedy="delete it and get it again",
        )
    sha256 = file_digest(path)
    if checksum is not None:
        algorithm, _, expected = checksum.partition(":")
        digest = sha256 if algorithm == "sha256" else file_digest(path, algorithm)
        if digest != expected:
            raise InputError(
                "the file is not the published one",
                where=path,
                expected=checksum,
                found=f"{algorithm}:{digest}",
                remedy="delete it and get it again",
            )
        return Seen(found, sha256, "published checksum")
    first = seen_before(path)
    if first is not None and first["sha256"] != sha256:
        raise InputError(
            "the file has changed since it was first used",
            where=path,
            expected=f"sha256:{first['sha256']} ({record_of(path)})",
            found=f"sha256:{sha256}",
            remedy=f"bring the first file back; or, if the new one is meant, delete {record_of(path)}",
        )
    return Seen(found, sha256, "first sight")


def seen_before(path: Path) -> dict[str, Any] | None:
    """The record of first sight; None where there is none.

    Raises:
        InputError: the record is damaged.
    """
    record = record_of(path)
    if not record.is_file():
        return None
    try:
        content = read_json(record)
        content["sha256"].encode()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            "the record of a file's first sight is damaged",
            where=record,
            found=f"{type(error).__name__}: {error}",
            remedy=f"delete it, if you know where {path.name} is from",
        ) from error
    return content


def remember(path: Path, seen: Seen, **details: Any) -> None:
    """Write the record of a file, with further `details` such as where it is from."""
    write_json(record_of(path), {**asdict(seen), **details})
