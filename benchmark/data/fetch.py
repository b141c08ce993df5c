"""Where the raw data comes from: the published archive, a local copy of it, or its phantom. All end in source.json."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmark import lineage
from benchmark.checksums import compare
from benchmark.data import phantoms
from benchmark.data.download import alone_in, download, require_space
from benchmark.data.integrity import check_unpacked
from benchmark.data.source import write_source
from benchmark.data.unpack import unpack
from benchmark.datasets import Archive, Dataset, get_dataset
from benchmark.errors import InputError
from benchmark.files import read_json, write_json
from benchmark.forced import take_forced
from benchmark.lineage import Made


def use_local(dataset: Dataset, root: Path, out: Path) -> None:
    """Record a folder in the data set's published layout.

    Raises:
        InputError: the folder is missing, is in another layout, or holds no case.
    """
    if not root.is_dir():
        raise InputError(
            f"the folder given for {dataset.name} does not exist",
            where=root,
            expected="a folder in the data set's published layout",
            remedy="correct --root (or roots in the configuration), or leave it out to download",
        )
    if not dataset.find_cases(root):
        raise InputError(f"0 cases of {dataset.name}", where=root, expected="the data set's published layout")
    write_source(out, dataset=dataset, root=root, kind="local", anew=take_forced(out))


def use_download(dataset: Dataset, out: Path, *, pause: float = 1.0) -> None:
    """Download, check and unpack all archives of a data set beside `out`; finished parts are not repeated.

    Raises:
        InputError: as `download`, `unpack` and `check_unpacked`.
    """
    if not dataset.archives:
        raise InputError(
            f"{dataset.title} cannot be downloaded automatically",
            where=dataset.obtain or dataset.homepage,
            expected=f"a folder with {dataset.layout or 'the published layout'}",
            found=f"licence: {dataset.licence}",
            remedy=f"get it there, then --config 'roots={{{dataset.name}: FOLDER}}' (or fetch --root FOLDER)",
        )
    folder = (out.parent.with_name(dataset.shared) if dataset.shared else out.parent) / "raw"
    with alone_in(folder):
        hashes = {
            archive.url: fetch_archive(archive, folder, dataset.title, pause=pause) for archive in dataset.archives
        }
    root = find_root(dataset, folder / "unpacked")
    made = download_made(dataset)
    write_source(out, dataset=dataset, root=root, kind="download", anew=take_forced(out), made=made, archives=hashes)


def fetch_archive(archive: Archive, folder: Path, title: str, *, pause: float = 1.0) -> str:
    """Download, check and unpack one archive under `folder`, unless that is done; returns its checksum."""
    target = folder / "unpacked" / Path(archive.name).stem
    marker = target.with_name(f"{target.name}.unpacked.json")
    if marker.exists() and archive.hash in (None, read_json(marker)["hash"]):
        return read_json(marker)["hash"]
    present = sum(f.stat().st_size for f in folder.glob(f"{archive.name}*") if f.is_file())
    needed = max((archive.bytes or 0) - present, 0) + (archive.unpacked_bytes or 0)
    require_space(folder, needed, f"hold {title}")
    path = download(archive, folder, pause=pause)
    checksum = archive.hash or f"sha256:{compare(path).sha256}"
    members = unpack(path, archive, target)
    check_unpacked(target)
    write_json(marker, {"hash": checksum, "members": members})
    return checksum


def find_root(dataset: Dataset, folder: Path) -> Path:
    """The folder, at most two levels down, that is in the data set's layout (archives differ in their top folder).

    Raises:
        InputError: there is none.
    """
    for candidate in (folder, *sorted(folder.glob("*/")), *sorted(folder.glob("*/*/"))):
        try:
            if dataset.find_cases(candidate):
                return candidate
        except InputError:
            continue
    raise InputError(f"the archive does not hold {dataset.name} in its published layout", where=folder)


def use_phantom(dataset: Dataset, out: Path, *, subjects: int | None = None, spacing: float | None = None) -> None:
    """Generate the phantom of a data set beside `out`, of as many subjects and such voxels as it has by itself.

    Raises:
        InputError: the data set has no phantom, or none of such a size.
    """
    root = out.parent / "phantom"
    settings = phantoms.write(phantoms.get_phantom(dataset.name), root, subjects=subjects, spacing=spacing)
    write_source(out, dataset=dataset, root=root, kind="phantom", anew=take_forced(out), made=lineage.flat(settings))


def origin(dataset: Dataset, *, root: str | None, phantom: bool) -> Made:
    """What decides which raw files a dataset has, before any of them is looked at.

    Args:
        root: a local folder, where one is given.
        phantom: whether there is a phantom otherwise, and not a download.
    """
    if root is not None:
        return {"kind": "local", **lineage.code("fetch")}
    if phantom:
        return {
            "kind": "phantom",
            **lineage.flat(phantoms.settings_of(phantoms.get_phantom(dataset.name))),
            **lineage.code("fetch"),
        }
    return {"kind": "download", **download_made(dataset), **lineage.code("fetch")}


def download_made(dataset: Dataset) -> Made:
    return {f"archive.{archive.name}": archive.hash for archive in dataset.archives}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", help="name of the data set")
    parser.add_argument("--out", type=Path, required=True, help="source.json to write; data goes beside it")
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument("--root", type=Path, help="use this local copy, in the published layout, instead of a download")
    origin.add_argument(
        "--phantom",
        type=int,
        nargs="?",
        const=0,
        metavar="SUBJECTS",
        help="instead of a download, generate a phantom of so many scans, patients or pictures (default: its own)",
    )
    parser.add_argument(
        "--phantom-spacing", type=float, metavar="MM", help="voxel side of the phantom (default: its own)"
    )


def main(arguments: argparse.Namespace) -> None:
    dataset = get_dataset(arguments.dataset)
    if arguments.root is not None:
        use_local(dataset, arguments.root, arguments.out)
    elif arguments.phantom is not None:
        use_phantom(dataset, arguments.out, subjects=arguments.phantom or None, spacing=arguments.phantom_spacing)
    else:
        use_download(dataset, arguments.out)
