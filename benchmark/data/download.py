"""Large files over an unreliable line: resumed by HTTP Range, checked by size and hash, unpacked with suspicion.

pooch keeps the registry, checks the hash and moves the file into place; what it lacks is the resuming of a partial
file, which matters at 23 GB, and a filter for archive members (its own has one from Python 3.12 on).
"""

from __future__ import annotations

import os
import shutil
import stat
import time
import zipfile
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

import pooch
import requests

from benchmark.datasets.base import Archive
from benchmark.errors import InputError
from benchmark.progress import say, track

ATTEMPTS_WITHOUT_PROGRESS = 5
LONGEST_PAUSE_SECONDS = 60.0
BLOCK_BYTES = 1 << 16  # what a cut line loses at most
TIMEOUT_SECONDS = 60.0
REPORT_BYTES = 1 << 30
UNPACKED_MARGIN = 1.25  # an archive that unpacks to more than this times its declared size is refused


class ResumingDownloader:
    """A pooch downloader that continues `<name>.part` after a cut line, in this process or a later one.

    Args:
        archive: tells the exact size; where it does not, the server does, or the end of what it sends.
        part: the partial file, kept until it is complete.
        pause: seconds before the first retry, doubled for each further one without progress.
    """

    def __init__(self, archive: Archive, part: Path, *, pause: float = 1.0) -> None:
        self.archive, self.part, self.pause = archive, part, pause
        self.size = archive.bytes

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Called by pooch with the temporary file to fill."""
        failures, problem, self.size = 0, "nothing was sent", self.archive.bytes
        while self._lacks():
            before = self._have()
            try:
                self._continue(url)
                problem = f"the server ended the file at {self._have()} bytes"
            except (requests.RequestException, OSError) as error:
                if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
                    raise
                problem = str(error)
            failures = 0 if self._have() > before else failures + 1
            if failures >= ATTEMPTS_WITHOUT_PROGRESS:
                raise InputError(
                    f"download failed: {problem}",
                    where=url,
                    expected=f"{self.size or 'an unknown number of'} bytes",
                    found=f"{self._have()} bytes",
                    remedy=f"run again: it continues from {self.part}",
                )
            if self._lacks():
                time.sleep(min(self.pause * 2**failures, LONGEST_PAUSE_SECONDS))
        found = self._have()
        os.replace(self.part, output_file)
        if found > self.size:
            raise ValueError(f"{url}: expected {self.size} bytes, found {found}")  # pooch retries ValueErrors

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _lacks(self) -> bool:
        return self.size is None or self._have() < self.size

    def _continue(self, url: str) -> None:
        """One request for the rest of the file, appended to the partial one."""
        have = self._have()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            if self.size is None and have and response.status_code == requests.codes.requested_range_not_satisfiable:
                self.size = have  # nothing comes after what is there: the hash tells whether it is the file
                return
            response.raise_for_status()
            resumed = response.status_code == requests.codes.partial_content and response.headers.get(
                "Content-Range", ""
            ).startswith(f"bytes {have}-")
            announced = response.headers.get("Content-Length")
            if self.size is None and announced is not None:
                self.size = int(announced) + (have if resumed else 0)
            with self.part.open("ab" if resumed else "wb") as stream:
                for block in response.iter_content(BLOCK_BYTES):
                    stream.write(block)
                    position = stream.tell()
                    if position // REPORT_BYTES > (position - len(block)) // REPORT_BYTES:
                        say(f"{self.archive.name}: {position / 1e9:.1f} of {(self.size or position) / 1e9:.1f} GB")
                if self.size is None:
                    self.size = stream.tell()  # sent in pieces and ended in order


def download(archive: Archive, folder: Path, *, pause: float = 1.0) -> Path:
    """The archive as a checked file in `folder`; a file that is there already is checked, not fetched again.

    Raises:
        InputError: no space, the server cannot be reached or sends another file (after one full second attempt).
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, part = folder / archive.name, folder / f"{archive.name}.part"
    if not target.exists():
        have = part.stat().st_size if part.exists() else 0
        require_space(folder, max((archive.bytes or 0) - have, 0), f"download {archive.name}")
    registry = pooch.create(
        path=folder,
        base_url="",
        registry={archive.name: archive.hash},
        urls={archive.name: archive.url},
        retry_if_failed=1,
    )
    try:
        registry.fetch(archive.name, downloader=ResumingDownloader(archive, part, pause=pause))
    except ValueError as error:
        raise InputError(
            "the downloaded file is not the published one",
            where=archive.url,
            expected=f"{archive.bytes} bytes, {archive.hash}" if archive.bytes else archive.hash,
            found=str(error),
            remedy="run again; if it stays so, the record has changed and the pinned hash must be reviewed",
        ) from error
    return target


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Refuse early what the disk cannot hold.

    Raises:
        InputError: fewer than `needed` bytes are free on the file system of `folder`.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"not enough disk space to {purpose}",
            where=folder,
            expected=f"{needed / 1e9:.1f} GB free",
            found=f"{free / 1e9:.1f} GB free",
            remedy="free space, or place results on a larger disk",
        )


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
        and not member.filename.startswith("__MACOSX")
        and any(fnmatch(member.filename, pattern) for pattern in archive.members)
    ]
    total, limit = sum(member.file_size for member in members), int(archive.unpacked_bytes * UNPACKED_MARGIN)
    if total > limit:
        raise InputError("the archive unpacks to more than it should", where=path, expected=limit, found=total)
    if not members:
        raise InputError("the archive holds nothing that is wanted", where=path, expected=archive.members)
    return members
