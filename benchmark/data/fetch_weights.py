"""Released weights: downloaded where they have an address of their own, else taken from a folder that people fill.

Every file is compared with its published size and checksum, or with its first sight, and has to be readable without
running anything in it, before a training may ask for it. What was found is written as json, and beside the file.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from benchmark.checksums import Seen, compare, record_of, remember, seen_before
from benchmark.data.download import alone_in, download, drive_address
from benchmark.datasets import Archive
from benchmark.errors import InputError
from benchmark.files import write_json
from benchmark.models.checkpoint_files import read_checkpoint
from benchmark.models.released import WeightSource, weight_source
from benchmark.progress import say


def fetch_weights(name: str, folder: Path, *, pause: float = 1.0) -> dict[str, Any]:
    """One released file, present and checked.

    Args:
        name: of the registry (`list weights`).
        folder: where released files lie; a file that is missing and has a direct address is downloaded into it.
        pause: seconds before the first retry of a download.

    Returns:
        name, path, bytes, sha256, basis ("published checksum" or "first sight"), licence, url.

    Raises:
        InputError: unknown name; absent and to be got by hand (the message says where, and where to put it); not the
            published file; changed since first sight; unreadable, or readable only by running code in it.
    """
    source = weight_source(name)
    path = folder / source.file
    if not path.is_file():
        obtain(source, path, pause=pause)
    seen = compare(path, size=source.bytes, checksum=source.checksum)
    check_readable(path, seen, source)
    return {
        "name": name,
        "path": str(path.resolve()),
        **asdict(seen),
        "licence": source.licence,
        "url": source.url,
    }


def obtain(source: WeightSource, path: Path, *, pause: float = 1.0) -> None:
    """Download a file that is missing.

    Raises:
        InputError: it has no direct address, or the download fails.
    """
    address = direct_address(source)
    if address is None:
        raise InputError(
            f"the released weights {source.name} have to be got by hand",
            where=path,
            expected=f"{source.file}: {source.content}; licence: {source.licence}",
            found="no such file",
            remedy=f"get it from {source.url}, and put it at {path.absolute()}",
        )
    say(f"{source.name}: downloading {source.file}; licence: {source.licence}")
    archive = Archive(address, path.name, source.bytes, source.checksum)
    with alone_in(path.parent):  # two names may share one file
        download(archive, path.parent, pause=pause)


def direct_address(source: WeightSource) -> str | None:
    """The address that sends the file itself; None where the registry knows only a page or a folder of a drive."""
    if source.by_hand:
        return None
    address = drive_address(source.url)
    named = unquote(urlsplit(address).path).rpartition("/")[2] == source.file
    return address if named or address != source.url else None


def check_readable(path: Path, seen: Seen, source: WeightSource) -> None:
    """Read the tensors of a file once, and remember that it went well where the folder may be written.

    torch is imported for a file that was never read; one that cannot be read is not remembered, so that a converted
    copy may take its place.

    Raises:
        InputError: damaged, no weights, or more than weights (the message says how to convert it).
    """
    known = seen_before(path)
    if known is not None and known["sha256"] == seen.sha256 and known.get("readable"):
        return
    try:
        tensors = len(read_checkpoint(path))
    except InputError:
        record_of(path).unlink(missing_ok=True)
        raise
    if os.access(path.parent, os.W_OK):
        remember(path, seen, readable=True, tensors=tensors, url=source.url)
    else:
        say(f"{path.parent} cannot be written: what {path.name} is stands in the result of this command alone")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of the registry of released weights (`list weights`)")
    parser.add_argument("--folder", type=Path, default=Path("weights"), help="folder of released files")
    parser.add_argument("--out", type=Path, required=True, help="json to write: what the file is")


def main(arguments: argparse.Namespace) -> None:
    found = fetch_weights(arguments.name, arguments.folder)
    write_json(arguments.out, found)
    say(f"{found['name']}: {found['path']}, sha256 {found['sha256']} ({found['basis']})")
