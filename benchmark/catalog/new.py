"""`new`: skeletons of one's own method, data set or paper, which run at demo scale as they are."""

from __future__ import annotations

import argparse
import re
from datetime import date
from pathlib import Path
from string import Template

import numpy as np
import yaml

from benchmark.catalog.catalog import load_catalog
from benchmark.catalog.reading import pick, read_yaml
from benchmark.datasets.base import Case
from benchmark.datasets.nnunet_raw import NnUnetRaw
from benchmark.datasets.own_nnunet import OwnNnUnet
from benchmark.errors import InputError
from benchmark.files import write_text
from benchmark.images.label_names import read_labels_file, read_structured
from benchmark.progress import say

SKELETONS = Path(__file__).parent / "skeletons"
NAME = re.compile(r"[a-z][a-z0-9_]*")
LARGEST_PATCH = {2: 320, 3: 128}
DEMO_PATCH = {2: 64, 3: 32}
LOOKED_AT = 20  # cases whose sizes decide the patch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind, what in (
        ("method", "a network, as a row of a table that exists"),
        ("dataset", "a data set in nnU-Net's raw layout, with a table of its own"),
        ("paper", "a folder for tables of one's own"),
    ):
        sub = kinds.add_parser(kind, help=what, description=what)
        if kind == "dataset":
            sub.add_argument("data", type=Path, help="the folder with dataset.json, imagesTr and labelsTr")
            sub.add_argument("--name", help="default: the folder's name, in small letters")
            sub.add_argument("--folds", type=int, help="train every row once for each of so many folds, and average")
            sub.add_argument("--splits", help="nnU-Net's splits_final.json, absolute or from the folder")
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
        target = new_dataset(name, folder, arguments.data, folds=arguments.folds, splits=arguments.splits)
    else:
        target = new_paper(name, folder)
    say(f"written to {folder}; a first table at demo scale:")
    print(f"snakemake --profile demo --config scale=demo 'papers=[{folder}]' -- results/demo/{target}.csv")


def new_paper(name: str, folder: Path) -> str:
    """A folder with a table of one row over TotalSegmentator; returns the table's id.

    Raises:
        InputError: the folder holds a paper already.
    """
    if (folder / "paper.yaml").exists():
        raise InputError("there is a paper already", where=folder, remedy="give another folder")
    _begin(folder)
    target = f"{folder.resolve().name}_table"
    _write(folder / "protocols.yaml", "protocols.yaml")
    _write(folder / f"{target}.yaml", "table.yaml", title=name)
    return target


def new_method(name: str, folder: Path, target: str) -> str:
    """A network of one's own, and a row for it in a target that exists; returns the target's id.

    Raises:
        InputError: unknown target, or one of the files is there already.
    """
    pick(load_catalog().targets, target, "target", "--target")
    _begin(folder)
    _write(folder / "networks" / f"{name}.py", "network.txt", name=name)
    _append(folder / "models.yaml", "model.yaml", name)
    _write(folder / f"{target}-{name}.yaml", "rows.yaml", name=name, target=target)
    return target


def new_dataset(name: str, folder: Path, data: Path, *, folds: int | None = None, splits: str | None = None) -> str:
    """Facts, a protocol and a table for a folder in nnU-Net's raw layout; returns the table's id.

    Args:
        folds: in how many parts the patients are divided, each of which is tested once; None: one of five is.
        splits: nnU-Net's file of the folds.

    Raises:
        InputError: no dataset.json, one that cannot be read, regions, gaps between label values, no labelled case, or
            one of the files is there already.
    """
    facts = _facts(name, data)
    if folds is not None and folds < 2:
        raise InputError("one fold is no cross-validation", where="--folds", expected="2 or more", found=folds)
    if splits:
        folds = _folds_of(data / splits, folds)
    _begin(folder)
    written = {key: yaml.safe_dump(value, default_flow_style=True, width=4096).removesuffix("\n...\n").strip()
               for key, value in facts.items()}  # fmt: skip
    written |= {"suffix": NnUnetRaw.frame_suffix, "folds": str(folds or OwnNnUnet.folds), "splits": splits or "''"}
    _write(folder / "datasets" / f"{name}.yaml", "dataset.yaml", **written)
    dataset = OwnNnUnet.from_yaml(str(folder / "datasets" / f"{name}.yaml"))
    cases = [found for found in dataset.find_cases(data) if found.labels]
    dimensions, size = dataset.spatial_dims, _median_size(dataset, cases)
    planned = dimensions == 3
    _append(
        folder / "protocols.yaml",
        "dataset_protocol.yaml",
        name,
        spacing="planned" if planned else "null",
        normalise="ct_global" if dataset.modality.upper() == "CT" else "zscore",
        patch=_patch(size, LARGEST_PATCH[dimensions]),
        demo_patch=_patch(size, DEMO_PATCH[dimensions]),
        batch=2 if planned else 12,
        batch_dice="false" if planned else "true",
        cross_validate="true" if folds else "false",
    )
    target = f"{name}_table"
    column = '  {}: {{measure: score, metric: dsc, group: {}, unit: "%", decimals: 2}}'
    _write(
        folder / f"{target}.yaml",
        "dataset_table.yaml",
        title=written["title"],
        name=name,
        columns="\n".join(column.format(_quoted(f"{label} (%)"), _quoted(label)) for label in dataset.label_names),
    )
    return target


def _folds_of(path: Path, asked: int | None) -> int:
    """How many folds a splits file has.

    Raises:
        InputError: it has none, or another number than is asked for.
    """
    if not path.is_file():
        raise InputError("there is no such file of splits", where=path, expected="--splits splits_final.json")
    content = read_structured(path)
    if not isinstance(content, list) or len(content) < 2 or asked not in (None, len(content)):
        found = len(content) if isinstance(content, list) else type(content).__name__
        raise InputError("other folds than asked for", where=path, expected=asked or "a list of folds", found=found)
    return len(content)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', "'") + '"'


def _facts(name: str, data: Path) -> dict[str, object]:
    """What dataset.json says, in our words, and one case."""
    path = data / "dataset.json"
    if not path.is_file():
        raise InputError("this is no raw data set of nnU-Net", where=data, expected="dataset.json, imagesTr, labelsTr")
    labels, content = read_labels_file(path), read_structured(path)
    if list(labels.names) != list(range(1, len(labels.names) + 1)):
        raise InputError("label values have gaps", where=path, expected="1, 2, 3, …", found=list(labels.names))
    channels = content.get("channel_names") or content.get("modality") or {"0": "image"}
    channels = [str(channels[key]) for key in sorted(channels, key=int)]
    title = str(content.get("name") or name)
    probe = OwnNnUnet(
        name=name, title=title, licence="", homepage="", modality="", spatial_dims=3, channels=tuple(channels),
        label_names=tuple(labels.names.values()), groups={},
    )  # fmt: skip
    cases = probe.find_cases(data)
    if not any(case.labels for case in cases):
        raise InputError("no labelled case", where=data, expected="imagesTr/<case>_0000.… with labelsTr/<case>.…")
    case = next(case for case in cases if case.labels)
    image = np.squeeze(probe.read_label_file(case.labels[0])[0])
    return {
        "title": title,
        "licence": str(content.get("licence") or content.get("license") or "not stated in dataset.json"),
        "homepage": str(content.get("reference") or ""),
        "modality": channels[0],
        "dimensions": image.ndim,
        "channels": channels,
        "labels": list(labels.names.values()),
        "folder": str(data.resolve()),
    }


def _median_size(dataset: OwnNnUnet, cases: list[Case]) -> np.ndarray:
    chosen = cases[:: max(len(cases) // LOOKED_AT, 1)][:LOOKED_AT]
    return np.median([dataset.read_labels(case)[0].shape for case in chosen], axis=0)


def _patch(size: np.ndarray, largest: int) -> list[int]:
    """Multiples of 16 up to `largest`, as large as the median case where that is smaller."""
    return [int(min(max(round(side / 16), 1) * 16, largest)) for side in size]


def _begin(folder: Path) -> None:
    """What every folder of one's own holds, if it is not there."""
    if not (folder / "paper.yaml").exists():
        name = folder.resolve().name
        _write(folder / "paper.yaml", "paper.yaml", name=name, title=name, folder=str(folder), year=date.today().year)
        _write(folder / "models.yaml", "models.yaml")


def _write(path: Path, skeleton: str, **values: object) -> None:
    if path.exists():
        raise InputError("this file exists", where=path, remedy="choose another name, or remove it")
    write_text(path, Template((SKELETONS / skeleton).read_text(encoding="utf-8")).substitute(values))


def _append(path: Path, skeleton: str, name: str, **values: object) -> None:
    """Add one entry to a yaml, whose other lines stay as somebody wrote them."""
    if path.exists() and name in read_yaml(path):
        raise InputError(f"{name} stands there already", where=path, remedy="choose another name")
    text = path.read_text(encoding="utf-8").rstrip("\n") + "\n" if path.exists() else ""
    write_text(path, text + Template((SKELETONS / skeleton).read_text(encoding="utf-8")).substitute(values, name=name))
