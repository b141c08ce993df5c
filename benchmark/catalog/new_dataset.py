"""`new dataset`: facts, a protocol and a table for a folder in nnU-Net's raw layout."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from benchmark.catalog.skeleton_files import SkeletonFiles
from benchmark.datasets import available_datasets
from benchmark.datasets.base import Case
from benchmark.datasets.filed_splits import PATTERNS, read_splits
from benchmark.datasets.own_nnunet import OwnNnUnet
from benchmark.errors import InputError
from benchmark.images.label_names import read_labels_file, read_structured
from benchmark.progress import say

LARGEST_PATCH = {2: 320, 3: 128}
DEMO_PATCH = {2: 64, 3: 32}
NEEDED = {"train": "learn from", "test": "test"}
SHOWN = 5  # names in a message
LOOKED_AT = 20  # cases whose sizes decide the patch
FACTS = ("title", "licence", "homepage", "modality", "spatial_dims", "channels", "label_names", "folder", "splits_file",
         "patient_pattern", "folds", "frame_suffix")  # fmt: skip
COLUMN = '  {}: {{measure: score, metric: dsc, group: {}, unit: "%", decimals: 2}}'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, help="the folder with dataset.json, imagesTr and labelsTr")
    parser.add_argument("--name", help="default: the folder's name, in small letters")
    parser.add_argument("--folds", type=int, help="train every row once for each of so many folds, and average")
    parser.add_argument(
        "--splits",
        metavar="FILE",
        help="nnU-Net's splits_final.json; or a csv with the columns case or patient (or both), and split (train, val, "
        "test) or fold (0, 1, …)",
    )
    parser.add_argument(
        "--patient",
        metavar="PATTERN",
        default="",
        help=f"who is who by the names of cases: {PATTERNS}; cases of one patient never part".replace("%", "%%"),
    )


def new_dataset(
    name: str, folder: Path, data: Path, *, folds: int | None = None, splits: str | None = None, patient: str = ""
) -> str:
    """Write the files of a data set of one's own; returns the table's id.

    Args:
        folds: in how many parts the patients are divided, each of which is tested once; None: one of five is.
        splits: file of splits or folds, from `data` or from here (`read_splits`).
        patient: pattern of who is who (`patients_by`).

    Raises:
        InputError: no dataset.json, one that cannot be read, regions, gaps between label values, no labelled case,
            splits or a pattern that do not fit the cases, nobody to learn from or to test, a name that is taken, or one
            of the files is there already.
    """
    if name in available_datasets():
        raise InputError(f"there is a data set {name} already", where=data, remedy="give another by --name")
    dataset = _described(name, data, patient)
    crossed = folds is not None
    if folds is not None and folds < 2:
        raise InputError("one fold is no cross-validation", where="--folds", expected="2 or more", found=folds)
    if splits:
        dataset, crossed = _with_splits(dataset, data, splits, folds)
    elif folds is not None:
        dataset = replace(dataset, folds=folds)
    found = dataset.find_cases(data)
    cases, unlabelled = [case for case in found if case.labels], [case.id for case in found if not case.labels]
    if splits or crossed or patient:
        _check_parts(dataset, data, crossed=crossed)
    say(f"{dataset.title}: {_who(dataset, cases, crossed)}")
    if unlabelled:
        listed = ", ".join(unlabelled[:SHOWN]) + (", …" if len(unlabelled) > SHOWN else "")
        say(f"{len(unlabelled)} cases of imagesTr have no file in labelsTr, at which `verify` stops: {listed}")
    files = SkeletonFiles(folder)
    files.add(f"datasets/{name}.yaml", "dataset.yaml", **_as_yaml(dataset))
    _add_protocol(files, dataset, cases, crossed=crossed)
    files.add(
        f"{name}_table.yaml",
        "dataset_table.yaml",
        title=_yaml(dataset.title),
        name=name,
        columns="\n".join(COLUMN.format(_quoted(f"{label} (%)"), _quoted(label)) for label in dataset.label_names),
    )
    files.write()
    return f"{name}_table"


def _described(name: str, data: Path, patient: str) -> OwnNnUnet:
    """What dataset.json and one label file say."""
    path = data / "dataset.json"
    if not path.is_file():
        there = sorted(entry.name for entry in data.iterdir())[:SHOWN] if data.is_dir() else []
        raise InputError(
            "this is no raw data set of nnU-Net",
            where=data,
            expected="dataset.json, imagesTr, labelsTr",
            found=", ".join(there) or ("an empty folder" if data.is_dir() else "no such folder"),
            remedy="give the folder that holds dataset.json, such as Dataset042_Mine",
        )
    labels, content = read_labels_file(path), read_structured(path)
    if list(labels.names) != list(range(1, len(labels.names) + 1)):
        raise InputError("label values have gaps", where=path, expected="1, 2, 3, …", found=list(labels.names))
    channels = content.get("channel_names") or content.get("modality") or {"0": "image"}
    channels = [str(channels[key]) for key in sorted(channels, key=int)]
    dataset = OwnNnUnet(
        name=name,
        title=str(content.get("name") or name),
        licence=str(content.get("licence") or content.get("license") or "not stated in dataset.json"),
        homepage=str(content.get("reference") or ""),
        modality=channels[0],
        spatial_dims=3,
        channels=tuple(channels),
        label_names=tuple(labels.names.values()),
        groups={},
        folder=str(data.resolve()),
        patient_pattern=patient,
    )
    labelled = [case.labels[0] for case in dataset.find_cases(data) if case.labels]
    if not labelled:
        raise InputError("no labelled case", where=data, expected="imagesTr/<case>_0000.… with labelsTr/<case>.…")
    return replace(dataset, spatial_dims=np.squeeze(dataset.read_label_file(labelled[0])[0]).ndim)


def _with_splits(dataset: OwnNnUnet, data: Path, splits: str, folds: int | None) -> tuple[OwnNnUnet, bool]:
    """The data set split by a file, and whether this is a cross-validation; `folds` is what was asked for, if anything.

    Raises:
        InputError: the file cannot be read, or has another number of folds.
    """
    path = data / splits
    if not path.is_file() and Path(splits).is_file():
        path, splits = Path(splits), str(Path(splits).resolve())
    filed = read_splits(path)
    count = len(filed.folds) if filed.crossed else 1
    if folds not in (None, count) or (filed.crossed and count < 2):
        raise InputError("other folds than asked for", where=path, expected=folds or "two or more", found=count)
    dataset = replace(dataset, splits_file=splits, folds=count if filed.crossed else OwnNnUnet.folds)
    return dataset, filed.crossed


def _who(dataset: OwnNnUnet, cases: Sequence[Case], crossed: bool) -> str:
    """How many there are, and who is tested, in words."""
    counts = Counter(case.split for case in cases)
    parts = ", ".join(f"{counts[part]} {part}" for part in ("train", "val", "test") if counts[part])
    patients = len({case.patient for case in cases})
    return f"{len(cases)} labelled cases of {patients} patients, " + (f"{dataset.folds} folds" if crossed else parts)


def _check_parts(dataset: OwnNnUnet, data: Path, *, crossed: bool) -> None:
    """Raise InputError where a split, or one of the folds, learns from nobody or tests nobody."""
    parts = [dataset.of_fold(fold) for fold in range(dataset.folds)] if crossed else [dataset]
    for part in parts:
        cases = part.find_cases(data)
        if empty := [what for split, what in NEEDED.items() if all(case.split != split for case in cases)]:
            raise InputError(
                f"nobody to {' or to '.join(empty)}" + (f" in {part.name}" if crossed else ""),
                where=data / dataset.splits_file if dataset.splits_file else data,
                expected="a patient at least",
                found=f"patients in all: {len({case.patient for case in cases})}",
                remedy="ask for fewer folds, or correct the file of splits or the pattern of patients",
            )


def _as_yaml(dataset: OwnNnUnet) -> dict[str, str]:
    """The facts that are known, each as it stands in a yaml file."""
    values = {key: getattr(dataset, key) for key in FACTS}
    return {key: _yaml(list(value) if isinstance(value, tuple) else value) for key, value in values.items()}


def _yaml(value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=4096, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()


def _add_protocol(files: SkeletonFiles, dataset: OwnNnUnet, cases: Sequence[Case], *, crossed: bool) -> None:
    dimensions, size = dataset.spatial_dims, _median_size(dataset, cases)
    planned = dimensions == 3
    files.append(
        "protocols.yaml",
        "dataset_protocol.yaml",
        dataset.name,
        spacing="planned" if planned else "null",
        normalise="ct_global" if dataset.modality.upper() == "CT" else "zscore",
        patch=_patch(size, LARGEST_PATCH[dimensions]),
        demo_patch=_patch(size, DEMO_PATCH[dimensions]),
        batch=2 if planned else 12,
        batch_dice="false" if planned else "true",
        cross_validate="true" if crossed else "false",
    )


def _median_size(dataset: OwnNnUnet, cases: Sequence[Case]) -> np.ndarray:
    chosen = cases[:: max(len(cases) // LOOKED_AT, 1)][:LOOKED_AT]
    return np.median([dataset.read_labels(case)[0].shape for case in chosen], axis=0)


def _patch(size: np.ndarray, largest: int) -> list[int]:
    """Multiples of 16 up to `largest`, as large as the median case where that is smaller."""
    return [int(min(max(round(side / 16), 1) * 16, largest)) for side in size]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', "'") + '"'
