"""Where the raw data comes from: the published archive, a local copy of it, or the phantom. All end in source.json."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmark.data.download import download, require_space, unpack
from benchmark.data.integrity import check_unpacked
from benchmark.data.phantom import DEFAULT_SPACING_MM, DEFAULT_SUBJECTS, write_phantom
from benchmark.data.source import write_source
from benchmark.datasets import Dataset, get_dataset
from benchmark.errors import InputError
from benchmark.files import read_json, write_json


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
    cases = dataset.find_cases(root)
    if not cases:
        raise InputError(f"0 cases of {dataset.name}", where=root, expected="the data set's published layout")
    write_source(out, dataset=dataset.name, root=root, kind="local", cases=len(cases))


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
    folder = out.parent / "raw"
    for archive in dataset.archives:
        target = folder / "unpacked" / Path(archive.name).stem
        marker = target.with_name(f"{target.name}.unpacked.json")
        if marker.exists() and read_json(marker)["hash"] == archive.hash:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        present = sum(f.stat().st_size for f in folder.glob(f"{archive.name}*") if f.is_file())
        require_space(folder, max(archive.bytes - present, 0) + archive.unpacked_bytes, f"hold {dataset.title}")
        path = download(archive, folder, pause=pause)
        members = unpack(path, archive, target)
        check_unpacked(target)
        write_json(marker, {"hash": archive.hash, "members": members})
    root = find_root(dataset, folder / "unpacked")
    hashes = {archive.url: archive.hash for archive in dataset.archives}
    cases = len(dataset.find_cases(root))
    write_source(out, dataset=dataset.name, root=root, kind="download", cases=cases, archives=hashes)


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


def use_phantom(
    dataset: Dataset, out: Path, *, subjects: int = DEFAULT_SUBJECTS, spacing: float = DEFAULT_SPACING_MM
) -> None:
    """Generate the phantom of a data set beside `out`.

    Raises:
        InputError: the data set has no phantom.
    """
    if not dataset.phantom:
        raise InputError(f"there is no phantom of {dataset.name}", where=dataset.obtain or None, remedy="give --root")
    root = out.parent / "phantom"
    settings = write_phantom(root, subjects=subjects, spacing=spacing)
    write_source(out, dataset=dataset.name, root=root, kind="phantom", cases=subjects, **settings)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", help="name of the data set")
    parser.add_argument("--out", type=Path, required=True, help="source.json to write; data goes beside it")
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument("--root", type=Path, help="use this local copy, in the published layout, instead of a download")
    origin.add_argument(
        "--phantom",
        type=int,
        nargs="?",
        const=DEFAULT_SUBJECTS,
        metavar="SUBJECTS",
        help=f"generate a phantom of so many subjects (default {DEFAULT_SUBJECTS}) instead of a download",
    )
    parser.add_argument(
        "--phantom-spacing", type=float, default=DEFAULT_SPACING_MM, metavar="MM", help="voxel side of the phantom"
    )


def main(arguments: argparse.Namespace) -> None:
    dataset = get_dataset(arguments.dataset)
    if arguments.root is not None:
        use_local(dataset, arguments.root, arguments.out)
    elif arguments.phantom is not None:
        use_phantom(dataset, arguments.out, subjects=arguments.phantom, spacing=arguments.phantom_spacing)
    else:
        use_download(dataset, arguments.out)
