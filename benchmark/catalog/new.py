"""`new`: skeletons of one's own method, data set or paper, which run at demo scale as they are."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from benchmark.catalog import new_dataset
from benchmark.catalog.catalog import load_catalog
from benchmark.catalog.reading import pick
from benchmark.catalog.skeleton_files import SkeletonFiles
from benchmark.errors import InputError
from benchmark.models.registry import available_models
from benchmark.progress import say

NAME = re.compile(r"[a-z][a-z0-9_]*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind, what in (
        ("method", "a network, as a row of a table that exists"),
        ("dataset", "a data set in nnU-Net's raw layout, with a table of its own"),
        ("paper", "a folder for tables of one's own"),
    ):
        sub = kinds.add_parser(kind, help=what, description=what)
        if kind == "dataset":
            new_dataset.add_arguments(sub)
        else:
            sub.add_argument("name", help="small letters, digits and _")
        if kind == "method":
            sub.add_argument("--target", default="table1_totalseg", help="default: %(default)s")
        sub.add_argument("--in", dest="folder", type=Path, help="folder of one's own, made if it is not there (NAME)")


def main(arguments: argparse.Namespace) -> None:
    name = arguments.name or re.sub(r"[^a-z0-9]+", "_", arguments.data.resolve().name.lower()).strip("_")
    if not NAME.fullmatch(name):
        raise InputError("not a name", found=name, expected="small letters, digits and _, a letter first")
    folder = arguments.folder or Path(name)
    if arguments.kind == "method":
        target = new_method(name, folder, arguments.target)
    elif arguments.kind == "dataset":
        target = new_dataset.new_dataset(
            name,
            folder,
            arguments.data,
            folds=arguments.folds,
            splits=arguments.splits,
            patient=arguments.patient,
        )
    else:
        target = new_paper(name, folder)
    here = Path("Snakefile").is_file()
    say(f"written to {folder}; held to what holds for our own: retable check --papers {folder}")
    say(f"a first table at demo scale{'' if here else ', in a clone of Retable'}:")
    place = folder if here else folder.resolve()
    print(f"snakemake --profile demo --config scale=demo 'papers=[{place}]' -- results/demo/{target}.csv")


def new_paper(name: str, folder: Path) -> str:
    """A folder with a table of one row over TotalSegmentator; returns the table's id.

    Raises:
        InputError: the folder holds a paper already.
    """
    if (folder / "paper.yaml").exists():
        raise InputError("there is a paper already", where=folder, remedy="give another folder")
    files, target = SkeletonFiles(folder), f"{folder.resolve().name}_table"
    files.add("protocols.yaml", "protocols.yaml")
    files.add(f"{target}.yaml", "table.yaml", title=name)
    files.write()
    return target


def new_method(name: str, folder: Path, target: str) -> str:
    """A network of one's own, and a row for it in a target that exists; returns the target's id.

    Raises:
        InputError: unknown target, a name that is taken, or one of the files is there already.
    """
    pick(load_catalog().targets, target, "target", "--target")
    if name in available_models():
        raise InputError(f"there is a network {name} already", remedy="give your own another name")
    files = SkeletonFiles(folder)
    files.add(f"networks/{name}.py", "network.txt", name=name)
    files.append("models.yaml", "model.yaml", name)
    files.add(f"{target}-{name}.yaml", "rows.yaml", name=name, target=target)
    files.write()
    return target
