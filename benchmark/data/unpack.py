"""Archives unpacked with suspicion: only wanted members, none outside the folder, no link, no bomb, all or nothing."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from benchmark.data.download import require_space
from benchmark.datasets.facts import Archive
from benchmark.errors import InputError
from benchmark.progress import track

UNPACKED_MARGIN = 1.25  # an archive that unpacks to more than this times its declared size is refused


def unpack(path: Path, archive: Archive, folder: Path) -> int:
    """Extract the wanted members of a zip into `folder`, which appears only when all are there; returns their number.

    Raises:
        InputError: not a whole zip, a member that leaves the folder or is a link, more data than declared, no space,
            or no member that is wanted.
    """
    try:
        with zipfile.ZipFile(path) as container:
            members = _accepted(container, archive, path)
            folder.parent.mkdir(parents=True, exist_ok=True)
            require_space(folder.parent, sum(member.file_size for member in members), f"unpack {path.name}")
            temporary = folder.with_name(f".unpacking-{folder.name}")
            shutil.rmtree(temporary, ignore_errors=True)
            for member in track(members, total=len(members), description=f"unpacking {path.name}"):
                container.extract(member, temporary)
    except (zipfile.BadZipFile, EOFError) as error:
        raise InputError(
            "the archive is damaged", where=path, found=error, remedy="delete it and fetch again"
        ) from error
    os.sync()  # once, instead of an fsync for each of 10⁵ files
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was stopped before it could say that it was done
    os.replace(temporary, folder)
    return len(members)


def _accepted(container: zipfile.ZipFile, archive: Archive, path: Path) -> list[zipfile.ZipInfo]:
    for member in container.infolist():
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
            raise InputError("an archive member leaves the folder", where=path, found=member.filename)
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError("an archive member is a link", where=path, found=member.filename, expected="plain files")
    members = [
        member
        for member in container.infolist()
        if not member.is_dir()
        and "__MACOSX" not in PurePosixPath(member.filename).parts
        and any(fnmatch(member.filename, pattern) for pattern in archive.members)
    ]
    if archive.unpacked_bytes is not None:
        total, limit = sum(member.file_size for member in members), int(archive.unpacked_bytes * UNPACKED_MARGIN)
        if total > limit:
            raise InputError("the archive unpacks to more than it should", where=path, expected=limit, found=total)
    if not members:
        raise InputError("the archive holds nothing that is wanted", where=path, expected=archive.members)
    return members
