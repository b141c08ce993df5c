"""Large files over an unreliable line: resumed by HTTP Range, checked by size and hash.

pooch keeps the registry, checks the hash and moves the file into place; what it lacks is the resuming of a partial
file, which matters at 23 GB, and a word for the web page that a drive sends instead of the file.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pooch
import requests

from benchmark.checksums import compare, remember, seen_before
from benchmark.datasets.facts import Archive
from benchmark.errors import InputError
from benchmark.files import make_folder, unwritable_explained
from benchmark.progress import say

ATTEMPTS_WITHOUT_PROGRESS = 5
LONGEST_PAUSE_SECONDS = 60.0
BLOCK_BYTES = 1 << 16  # what a cut line loses at most
TIMEOUT_SECONDS = 60.0
REPORT_BYTES = 1 << 30
TEMPORARY_STATUS = {408, 416, 425, 429}  # 416: the server has less than what is here
DRIVE_FILE = re.compile(r"https://drive\.google\.com/(?:file/d/|uc\?(?:export=download&)?id=|open\?id=)([\w-]+)")


class ResumingDownloader:
    """A pooch downloader that continues `<name>.part` after a cut line, in this process or a later one.

    Args:
        archive: what is downloaded; where its size is not known, the server's word is taken for it.
        part: the partial file, kept until it is complete.
        pause: seconds before the first retry, doubled for each further one without progress.
    """

    def __init__(self, archive: Archive, part: Path, *, pause: float = 1.0) -> None:
        self.archive, self.part, self.pause = archive, part, pause
        self.total: int | None = None

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Called by pooch with the temporary file to fill."""
        failures, problem, self.total = 0, "nothing was sent", self.archive.bytes
        while self.total is None or self._have() < self.total:
            before = self._have()
            try:
                self._continue(url)
                problem = f"the server ended the file at {self._have()} bytes"
            except (requests.RequestException, OSError) as error:
                if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
                    raise
                problem = str(error)
                if is_final(error):
                    raise self._failed(url, problem) from error
            failures = 0 if self._have() > before else failures + 1
            if failures >= ATTEMPTS_WITHOUT_PROGRESS:
                raise self._failed(url, problem)
            if self.total is None or self._have() < self.total:
                time.sleep(min(self.pause * 2**failures, LONGEST_PAUSE_SECONDS))
        found = self._have()
        os.replace(self.part, output_file)
        if found > self.total:
            raise ValueError(f"{url}: expected {self.total} bytes, found {found}")  # pooch retries ValueErrors

    def _failed(self, url: str, problem: str) -> InputError:
        again = f"run again: it continues from {self.part}" if self._have() else "run again"
        return InputError(
            f"download failed: {problem}",
            where=url,
            expected=_size_of(self.total),
            found=f"{self._have()} bytes",
            remedy=f"{again}; or put the file at {self.part.with_name(self.archive.name)} yourself",
        )

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _continue(self, url: str) -> None:
        """One request for the rest of the file, appended to the partial one."""
        have = self._have()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            answered = response.headers.get("Content-Range", "")
            if response.status_code == requests.codes.requested_range_not_satisfiable and self.total is None:
                return self._settle(answered == f"bytes */{have}")
            response.raise_for_status()
            if response.headers.get("Content-Type", "").startswith("text/html"):
                raise self._page(url)
            resumed = response.status_code == requests.codes.partial_content and answered.startswith(f"bytes {have}-")
            self._learn_total(response, answered if resumed else "")
            with self.part.open("ab" if resumed else "wb") as stream:
                for block in response.iter_content(BLOCK_BYTES):
                    if stream.tell() == 0 and is_web_page(block):
                        raise self._page(url)
                    stream.write(block)
                    self._report(stream.tell(), len(block))
        if self.total is None:  # the server does not tell the size, and ended without an error
            self.total = self._have()

    def _settle(self, complete: bool) -> None:
        """The server has nothing beyond what is there: either this is the file, or the beginning of another one."""
        if complete:
            self.total = self._have()
        else:
            self.part.unlink(missing_ok=True)

    def _learn_total(self, response: requests.Response, content_range: str) -> None:
        if self.total is not None:
            return
        told = content_range.rpartition("/")[2] or response.headers.get("Content-Length", "")
        if told.isdecimal():
            self.total = int(told)
            require_space(self.part.parent, self.total - self._have(), f"download {self.archive.name}")

    def _page(self, url: str) -> InputError:
        target = self.part.with_name(self.archive.name)
        return InputError(
            "the server sent a web page instead of the file (a quota, a licence or a confirmation, as drives ask for)",
            where=url,
            expected=self.archive.name,
            found="text/html",
            remedy=f"open the address in a browser, put the file at {target}, and run again",
        )

    def _report(self, position: int, block: int) -> None:
        if position // REPORT_BYTES > (position - block) // REPORT_BYTES:
            whole = "" if self.total is None else f" of {self.total / 1e9:.1f}"
            say(f"{self.archive.name}: {position / 1e9:.1f}{whole} GB")


def is_final(error: requests.RequestException) -> bool:
    """Whether asking again cannot help: the server refuses (status 400 to 499, save those that mean "later")."""
    status = None if error.response is None else error.response.status_code
    return status is not None and 400 <= status < 500 and status not in TEMPORARY_STATUS


def is_web_page(start: bytes) -> bool:
    """Whether a file begins as HTML does."""
    return start.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html"))


def drive_address(url: str) -> str:
    """The address at which Google Drive sends the file of a link to it; any other address as it is.

    That form answers without a confirmation page; a file over its quota still answers with a page.
    """
    found = DRIVE_FILE.match(url)
    return f"https://drive.usercontent.google.com/download?id={found[1]}&export=download&confirm=t" if found else url


def _size_of(total: int | None) -> str:
    return "the whole file" if total is None else f"{total} bytes"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold `folder` against other processes that download into it; waits for them."""
    make_folder(folder)
    with unwritable_explained(folder / ".fetching"):
        lock = (folder / ".fetching").open("w")
    with lock as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process downloads into {folder}; waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def download(archive: Archive, folder: Path, *, pause: float = 1.0) -> Path:
    """The archive as a checked file in `folder`; a file that is there already is checked, not fetched again.

    Where no checksum is published, that of the first sight is kept beside the file (`benchmark.checksums`).

    Raises:
        InputError: no space, the server cannot be reached, or it sends a web page or another file (after one full
            second attempt).
    """
    make_folder(folder)
    target, part = folder / archive.name, folder / f"{archive.name}.part"
    if not target.exists() and archive.bytes is not None:
        have = part.stat().st_size if part.exists() else 0
        require_space(folder, max(archive.bytes - have, 0), f"download {archive.name}")
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
            expected=f"{_size_of(archive.bytes)}, {archive.hash or 'no published checksum'}",
            found=str(error),
            remedy="run again; if it stays so, the record has changed and the pinned hash must be reviewed",
        ) from error
    if archive.hash is None:
        seen = compare(target, size=archive.bytes)
        if seen_before(target) is None:
            remember(target, seen, url=archive.url)
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
