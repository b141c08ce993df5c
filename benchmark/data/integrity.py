"""Whether what was unpacked is whole: every gzip file read to its end, where its checksum is."""

from __future__ import annotations

from pathlib import Path

from benchmark.errors import InputError
from benchmark.images.files import is_hidden
from benchmark.images.nifti import check_gzip
from benchmark.progress import track
from benchmark.workers import map_processes

FAULTS_SHOWN = 10


def check_unpacked(folder: Path, *, processes: int | None = None) -> None:
    """Read all gzip files below a folder.

    Raises:
        InputError: some are damaged, with the first of them.
    """
    paths = sorted(path for path in folder.rglob("*.gz") if not is_hidden(path))
    checked = track(map_processes(_fault, paths, processes=processes), total=len(paths), description="reading back")
    faults = sorted(fault for fault in checked if fault)
    if faults:
        raise InputError(
            f"{len(faults)} unpacked files are damaged",
            where=folder,
            expected="whole gzip files",
            found="\n" + "\n".join(faults[:FAULTS_SHOWN]),
            remedy="check disk and memory, delete the folder and fetch again",
        )


def _fault(path: Path) -> str | None:
    try:
        check_gzip(path)
    except InputError as error:
        return f"{path}: {error.found}"
    return None
